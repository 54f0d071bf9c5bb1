//! Values as SQL literals.

use std::fmt::Write as _;

use uuid::Uuid;

/// A value that can stand in SQL as text, with its type.
///
/// Numbers and strings only, each written so that no setting of the server changes its meaning
/// (`standard_conforming_strings` does not touch `E''`).
pub trait Literal {
    /// Postgres' name of the type.
    const TYPE: &'static str;

    /// Writes the value, without its type.
    fn write(&self, sql: &mut String);
}

macro_rules! numbers {
    ($($rust:ty => $sql:literal),+) => {$(
        impl Literal for $rust {
            const TYPE: &'static str = $sql;

            fn write(&self, sql: &mut String) {
                // Quoted, so that a minus binds to the number.
                let _ = write!(sql, "'{self}'");
            }
        }
    )+};
}

numbers!(i16 => "smallint", i32 => "integer", i64 => "bigint", bool => "boolean", Uuid => "uuid");

impl Literal for str {
    const TYPE: &'static str = "text";

    fn write(&self, sql: &mut String) {
        sql.push_str("E'");
        for c in self.chars() {
            // Postgres' text holds no NUL, and in a statement it would end the text.
            match c {
                '\0' => sql.push('\u{FFFD}'),
                '\'' | '\\' => {
                    sql.push(c);
                    sql.push(c);
                }
                _ => sql.push(c),
            }
        }
        sql.push('\'');
    }
}

/// A list of strings of any kind.
impl Literal for [&str] {
    const TYPE: &'static str = "text[]";

    fn write(&self, sql: &mut String) {
        write_list(self, sql);
    }
}

impl Literal for Vec<&str> {
    const TYPE: &'static str = "text[]";

    fn write(&self, sql: &mut String) {
        write_list(self, sql);
    }
}

impl Literal for String {
    const TYPE: &'static str = "text";

    fn write(&self, sql: &mut String) {
        self.as_str().write(sql);
    }
}

impl<T: Literal + ?Sized> Literal for &T {
    const TYPE: &'static str = T::TYPE;

    fn write(&self, sql: &mut String) {
        (**self).write(sql);
    }
}

impl<T: Literal> Literal for Option<T> {
    const TYPE: &'static str = T::TYPE;

    fn write(&self, sql: &mut String) {
        match self {
            Some(value) => value.write(sql),
            None => sql.push_str("null"),
        }
    }
}

/// The element's type and `[]`.
macro_rules! lists {
    ($($element:ty => $sql:literal),+) => {$(
        impl Literal for [$element] {
            const TYPE: &'static str = $sql;

            fn write(&self, sql: &mut String) {
                write_list(self, sql);
            }
        }

        impl Literal for Vec<$element> {
            const TYPE: &'static str = $sql;

            fn write(&self, sql: &mut String) {
                write_list(self, sql);
            }
        }
    )+};
}

lists!(i16 => "smallint[]", i32 => "integer[]", i64 => "bigint[]", String => "text[]", Uuid => "uuid[]");

fn write_list<T: Literal>(values: &[T], sql: &mut String) {
    sql.push_str("array[");
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            sql.push(',');
        }
        value.write(sql);
    }
    sql.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &(impl Literal + ?Sized)) -> String {
        let mut sql = String::new();
        value.write(&mut sql);
        sql
    }

    #[test]
    fn a_string_cannot_leave_its_quotes() {
        assert_eq!(written("it's"), "E'it''s'");
        assert_eq!(written(r"\'; drop table x; --"), r"E'\\''; drop table x; --'");
        assert_eq!(written("a\0b"), "E'a\u{FFFD}b'");
        assert_eq!(written("$1 ü"), "E'$1 ü'");
    }

    #[test]
    fn numbers_nothing_and_lists_are_written_plainly() {
        assert_eq!(written(&i64::MIN), "'-9223372036854775808'");
        assert_eq!(written(&None::<i16>), "null");
        assert_eq!(written(&vec![1_i64, -2]), "array['1','-2']");
        assert_eq!(written(&Vec::<String>::new()), "array[]");
        assert_eq!(
            <Option<Vec<String>> as Literal>::TYPE,
            "text[]",
            "nothing has the type of what is missing"
        );
    }
}
