//! The table: arguments of `oncebox.enqueue`, in SQL.

use super::{
    super::{Accepted, Parked, Refused},
    Outcome, Row,
};

/// What `oncebox.enqueue` refuses by its own rules.
const fn bad(field: &'static str) -> Outcome {
    Refused("22023", field)
}

/// What Postgres refuses before `oncebox.enqueue` sees it.
const fn postgres(code: &'static str) -> Outcome {
    Refused(code, "")
}

/// A known gap: headers that are a scalar are refused by an operator of Postgres before the rules are looked at, so the
/// error has the right code and does not name the argument. It should be `bad("headers")`.
const NO_OBJECT: Outcome = Refused("22023", "");

const fn row(name: &'static str, call: &'static str, outcome: Outcome) -> Row {
    Row { name, call, outcome }
}

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // Nothing.
    row("no data", "'a.v1'", postgres("42883")),
    row("data that is SQL's NULL", "'a.v1', null", bad("data")),
    row("data that is JSON's null", "'a.v1', 'null'", Accepted),
    row("data of no characters", "'a.v1', ''", postgres("22P02")),
    row("empty object, array, string and names", "'a.v1', '{\"\": {\"\": \"\"}, \"a\": [[], {}, \"\"]}'", Accepted),
    row("type that is NULL", "null, '1'", bad("type")),
    row("type of no characters", "'', '1'", bad("type")),
    row("key of no characters", "'a.v1', '1', key => ''", bad("key")),
    row("key that is NULL", "'a.v1', '1', key => null", Accepted),
    row("tenant of no characters", "'a.v1', '1', tenant => ''", bad("tenant")),
    row("tenant that is NULL", "'a.v1', '1', tenant => null", bad("tenant")),
    row("kind of no characters", "'a.v1', '1', kind => ''", bad("kind")),
    row("kind that is NULL", "'a.v1', '1', kind => null", bad("kind")),
    row("source of no characters", "'a.v1', '1', source => ''", bad("source")),
    row("source that is NULL: the database's name", "'a.v1', '1', source => null", Accepted),
    row("headers that are SQL's NULL", "'a.v1', '1', headers => null", bad("headers")),
    row("headers that are JSON's null", "'a.v1', '1', headers => 'null'", NO_OBJECT),
    row("id that is NULL: a new one", "'a.v1', '1', id => null", Accepted),
    // NUL, invalid UTF-8, and other characters.
    row("NUL in data", "'a.v1', E'\"\\\\u0000\"'", postgres("22P05")),
    row("NUL in a key of data", "'a.v1', E'{\"\\\\u0000\": 1}'", postgres("22P05")),
    row("NUL in headers", "'a.v1', '1', headers => E'{\"x\": \"\\\\u0000\"}'", postgres("22P05")),
    row("invalid UTF-8 in the key", "'a.v1', '1', key => E'\\xff'", postgres("22021")),
    row("UTF-8 of more bytes than needed", "'a.v1', '1', key => E'\\xc0\\x80'", postgres("22021")),
    row("UTF-8 of a surrogate", "'a.v1', E'\"\\xed\\xa0\\x80\"'", postgres("22021")),
    row("a surrogate alone in data", "'a.v1', E'\"\\\\ud800\"'", postgres("22P02")),
    row("two surrogates that are one character", "'a.v1', E'\"\\\\ud83d\\\\ude00\"'", Accepted),
    row("noncharacters in data", "'a.v1', E'\"\\uFDD0 \\uFFFE \\uFFFF \\U0010FFFF\"'", Accepted),
    row("control characters in data", "'a.v1', E'\"\\\\u0001\\\\u001f\\\\u007f\\\\u0085\\\\t\\\\n\\\\r\"'", Accepted),
    row("quotes, backslashes and tags in data", "'a.v1', E'\"\\\\\\\\ \\\\\" < > & ]]> %00 \\u2028 \\u2029\"'", Accepted),
    row("newline in the key", "'a.v1', '1', key => E'kanarienvogel\\n'", bad("key")),
    row("DEL in the key", "'a.v1', '1', key => E'kanarienvogel\\x7f'", bad("key")),
    row("C1 control in the key", "'a.v1', '1', key => E'\\u0085'", bad("key")),
    row("noncharacter in the key", "'a.v1', '1', key => E'\\uFFFE'", bad("key")),
    row("last character of all in the key", "'a.v1', '1', key => E'\\U0010FFFF'", bad("key")),
    row("control character in the tenant", "'a.v1', '1', tenant => E'kanarienvogel\\x01'", bad("tenant")),
    row("letters that are not ASCII in the source", "'a.v1', '1', source => 'kanarienvogel/é'", bad("source")),
    row("white space in the source", "'a.v1', '1', source => 'kanarienvogel a'", bad("source")),
    row("newline after the type", "E'a.v1\\n', '1'", bad("type")),
    row("letters that only look like the type's", "'а.v1', '1'", bad("type")),
    // Keys and tenants of odd characters.
    row("key of one space", "'a.v1', '1', key => ' '", Accepted),
    row("key of a zero-width space", "'a.v1', '1', key => E'\\u200b'", Accepted),
    row("key that turns the direction of text", "'a.v1', '1', key => E'\\u202Ea'", Accepted),
    row("key of a family", "'a.v1', '1', key => E'\\U0001F468\\u200D\\U0001F469\\u200D\\U0001F467'", Accepted),
    row("key with a letter in one piece", "'a.v1', '1', key => E'caf\\u00e9'", Accepted),
    row("key with a letter in two pieces", "'a.v1', '1', key => E'cafe\\u0301'", Accepted),
    row("key with a byte order mark", "'a.v1', '1', key => E'\\ufeffk'", Accepted),
    row("key of private use", "'a.v1', '1', key => E'\\ue000\\U000f0000'", Accepted),
    row("key that is SQL", "'a.v1', '1', key => '''; drop table oncebox.event; --'", Accepted),
    row("key that is a path, a format, an environment", "'a.v1', '1', key => '../%s${HOME}{{x}}\\'", Accepted),
    row("key that is called like a tenant", "'a.v1', '1', key => 'default'", Accepted),
    row("key that looks like a hashed group", "'a.v1', '1', key => 'sha256-' || repeat('0', 64)", Accepted),
    row("tenant of a zero-width space", "'a.v1', '1', tenant => E'\\u200b'", Accepted),
    row("tenant of one space", "'a.v1', '1', tenant => ' '", Accepted),
    // Each limit and the next byte.
    row("type of 128 bytes", "repeat('a', 125) || '.v1', '1'", Accepted),
    row("type of 129 bytes", "repeat('a', 126) || '.v1', '1'", bad("type")),
    row("last version", "'a.v99999', '1'", Accepted),
    row("version after the last", "'a.v100000', '1'", bad("type")),
    row("version zero", "'a.v0', '1'", bad("type")),
    row("key of 2,048 bytes", "'a.v1', '1', key => repeat('k', 2048)", Accepted),
    row("key of 2,049 bytes", "'a.v1', '1', key => repeat('k', 2049)", bad("key")),
    row("key of 512 characters and 2,048 bytes", "'a.v1', '1', key => repeat(E'\\U0001F600', 512)", Accepted),
    row("key of 513 characters and 2,049 bytes", "'a.v1', '1', key => repeat(E'\\U0001F600', 512) || 'k'", bad("key")),
    row("key of a megabyte", "'a.v1', '1', key => repeat('kanarienvogel', 80000)", bad("key")),
    row("tenant of 128 bytes", "'a.v1', '1', tenant => repeat('é', 64)", Accepted),
    row("tenant of 129 bytes", "'a.v1', '1', tenant => repeat('é', 64) || 't'", bad("tenant")),
    row("source of 256 bytes", "'a.v1', '1', source => repeat('s', 256)", Accepted),
    row("source of 257 bytes", "'a.v1', '1', source => repeat('s', 257)", bad("source")),
    row("header of 2,048 bytes", "'a.v1', '1', headers => jsonb_build_object('x', repeat('h', 2048))", Accepted),
    row("header of 2,049 bytes", "'a.v1', '1', headers => jsonb_build_object('x', repeat('h', 2049))", bad("headers.x")),
    row("header's name of 20 letters", "'a.v1', '1', headers => jsonb_build_object(repeat('n', 20), 1)", Accepted),
    row("header's name of 21 letters", "'a.v1', '1', headers => jsonb_build_object(repeat('n', 21), 1)", bad("headers.nnnnnnnnnnnnnnnnnnnnn")),
    row("headers of 16,384 bytes", "'a.v1', '1', headers => (select jsonb_object_agg('x' || n, repeat('h', 2038)) from generate_series(1, 8) n)", Accepted),
    row("headers of 16,385 bytes", "'a.v1', '1', headers => (select jsonb_object_agg('x' || n, repeat('h', 2038 + (n = 1)::int)) from generate_series(1, 8) n)", bad("headers")),
    row("data of 1,000,000 bytes", "'a.v1', to_jsonb(repeat('x', 999998))", Accepted),
    row("data of 1,048,576 bytes: with its envelope more than a queue takes", "'a.v1', to_jsonb('kanarienvogel' || repeat('x', 1048561))", Parked("oversize")),
    row("data of 8,388,608 bytes", "'a.v1', to_jsonb(repeat('x', 8388606))", Parked("oversize")),
    row("data of 8,388,609 bytes", "'a.v1', to_jsonb('kanarienvogel' || repeat('x', 8388594))", bad("data")),
    row("data with 50,000 members", "'a.v1', (select jsonb_object_agg('k' || n, n) from generate_series(1, 50000) n)", Accepted),
    row("data with 100,000 members", "'a.v1', (select jsonb_object_agg('k' || n, n) from generate_series(1, 100000) n)", Parked("oversize")),
    // Depth.
    row("arrays in arrays, 3,000 deep", "'a.v1', (repeat('[', 3000) || repeat(']', 3000))::jsonb", Accepted),
    row("objects in objects, 1,000 deep", "'a.v1', (repeat('{\"a\":', 1000) || '1' || repeat('}', 1000))::jsonb", Accepted),
    row("arrays in arrays, 1,000,000 deep", "'a.v1', (repeat('[', 1000000) || repeat(']', 1000000))::jsonb", postgres("54001")),
    row("arrays that do not end", "'a.v1', repeat('[', 1000)::jsonb", postgres("22P02")),
    row("headers in headers", "'a.v1', '1', headers => '{\"x\": {\"kanarienvogel\": {}}}'", bad("headers.x")),
    // Numbers.
    row("whole numbers beyond 64 bits", "'a.v1', '[9007199254740993, 18446744073709551616, -9223372036854775809]'", Accepted),
    row("zeros that say how exact a number is", "'a.v1', '[1.0, 1.10, 0.000, 100]'", Accepted),
    row("minus zero", "'a.v1', '-0.0'", Accepted),
    row("beyond a double, and below it", "'a.v1', '[1e400, -1e400, 1e-400]'", Accepted),
    row("a hundred thousand digits", "'a.v1', '1e100000'", Accepted),
    row("the largest number that Postgres keeps", "'a.v1', '1e131071'", Accepted),
    row("ten times that", "'a.v1', '1e131072'", postgres("22003")),
    row("no number in JSON", "'a.v1', 'NaN'", postgres("22P02")),
    row("no number in JSON, either", "'a.v1', '01'", postgres("22P02")),
    row("largest sequence", "'a.v1', '1', key => 'last', headers => '{\"sequence\": 9223372036854775807}'", Accepted),
    row("sequence after the largest", "'a.v1', '1', key => 's', headers => '{\"sequence\": 9223372036854775808}'", bad("headers.sequence")),
    row("sequence zero", "'a.v1', '1', key => 's', headers => '{\"sequence\": 0}'", bad("headers.sequence")),
    row("sequence below zero", "'a.v1', '1', key => 's', headers => '{\"sequence\": -1}'", bad("headers.sequence")),
    row("sequence with a fraction", "'a.v1', '1', key => 's', headers => '{\"sequence\": 1.0}'", bad("headers.sequence")),
    row("sequence as text", "'a.v1', '1', key => 's', headers => '{\"sequence\": \"1\"}'", bad("headers.sequence")),
    row("sequence without a key", "'a.v1', '1', headers => '{\"sequence\": 1}'", bad("headers.sequence")),
    row("largest whole number in a header", "'a.v1', '1', headers => '{\"x\": 2147483647, \"y\": -2147483648}'", Accepted),
    row("the next in a header", "'a.v1', '1', headers => '{\"x\": 2147483648}'", bad("headers.x")),
    row("the one before in a header", "'a.v1', '1', headers => '{\"x\": -2147483649}'", bad("headers.x")),
    row("fraction in a header", "'a.v1', '1', headers => '{\"x\": 0.5}'", bad("headers.x")),
    row("a header beyond every number", "'a.v1', '1', headers => '{\"x\": 1e1000}'", bad("headers.x")),
    row("last time of expiry", "'a.v1', '1', headers => '{\"expirytime\": \"9999-12-30T22:00:00Z\"}'", Accepted),
    row("a second later", "'a.v1', '1', headers => '{\"expirytime\": \"9999-12-30T22:00:01Z\"}'", bad("headers.expirytime")),
    row("a day that is none", "'a.v1', '1', headers => '{\"expirytime\": \"2026-02-29T00:00:00Z\"}'", bad("headers.expirytime")),
    row("a time without end", "'a.v1', '1', headers => '{\"expirytime\": \"infinity\"}'", bad("headers.expirytime")),
    // Wrong types.
    row("number for the type", "7, '1'", postgres("42883")),
    row("text for the id", "'a.v1', '1', id => 'kanarienvogel'", postgres("22P02")),
    row("id of zeros", "'a.v1', '1', id => '00000000-0000-0000-0000-000000000000'", Accepted),
    row("id of ones", "'a.v1', '1', id => 'ffffffff-ffff-ffff-ffff-ffffffffffff'", Accepted),
    row("unknown kind", "'a.v1', '1', kind => 'kanarienvogel'", bad("kind")),
    row("kind in capitals", "'a.v1', '1', kind => 'EVENT'", bad("kind")),
    row("array for headers", "'a.v1', '1', headers => '[\"kanarienvogel\"]'", bad("headers")),
    row("text for headers", "'a.v1', '1', headers => '\"kanarienvogel\"'", NO_OBJECT),
    row("null in a header", "'a.v1', '1', headers => '{\"x\": null}'", bad("headers.x")),
    row("number for a conversation", "'a.v1', '1', headers => '{\"correlationid\": 7}'", bad("headers.correlationid")),
    row("true in a header", "'a.v1', '1', headers => '{\"x\": true}'", Accepted),
    row("empty text in a header", "'a.v1', '1', headers => '{\"x\": \"\"}'", bad("headers.x")),
    row("header's name that is no name", "'a.v1', '1', headers => '{\"ü\": 1}'", bad("headers.ü")),
    row("header's name of nothing", "'a.v1', '1', headers => '{\"\": 1}'", bad("headers.")),
    row("header that forges a claim check", "'a.v1', '1', headers => '{\"dataref\": \"s3://b/kanarienvogel\"}'", bad("headers.dataref")),
    row("header that forges the tenant", "'a.v1', '1', headers => '{\"tenant\": \"kanarienvogel\"}'", bad("headers.tenant")),
    row("trace of zeros", "'a.v1', '1', headers => '{\"traceparent\": \"00-00000000000000000000000000000000-00f067aa0ba902b7-01\"}'", bad("headers.traceparent")),
    row("parameter that is none", "'a.v1', '1', partition => 'k'", postgres("42883")),
    // Names that stand twice: jsonb keeps the last.
    row("names that stand twice in data", "'a.v1', '{\"a\": 1, \"a\": 2, \"b\": {\"c\": 1, \"c\": []}}'", Accepted),
    row("names that stand twice in headers", "'a.v1', '1', headers => '{\"x\": {}, \"x\": 2}'", Accepted),
    row("parameters that stand twice", "'a.v1', '1', key => 'a', key => 'b'", postgres("42601")),
];
