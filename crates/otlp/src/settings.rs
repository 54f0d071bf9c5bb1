//! OpenTelemetry's environment variables, as far as they decide whether there are traces and where
//! they go. The others (samplers, headers, timeouts, queue, resource) the SDK reads itself.

use std::env;

use url::Url;

/// Looks up a variable. An empty one counts as not set (OpenTelemetry specification, "Environment
/// variables").
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Whether the environment asks for traces, and how they travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    Http,
    Https,
}

/// Whether the environment asks for traces.
///
/// # Errors
/// It asks for something that is not there; says what to set instead.
pub(super) fn wanted() -> Result<Wanted, String> {
    wanted_by(&|name| env::var(name).ok())
}

/// The name that traces are filed under where the environment gives none.
pub(super) fn names_a_service() -> bool {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    set("OTEL_SERVICE_NAME").is_some()
        || set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="))
}

fn wanted_by(environment: Lookup<'_>) -> Result<Wanted, String> {
    let set = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
    // The first that is set decides: the one for traces goes before the one for every signal.
    let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, set(name)?)));

    if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(Wanted::Nothing);
    }
    match set("OTEL_TRACES_EXPORTER").as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(Wanted::Nothing),
        Some(_) => return Err("OTEL_TRACES_EXPORTER: there is no such exporter here; set otlp or none".to_owned()),
    }
    let endpoint = first(["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]);
    let Some((name, endpoint)) = endpoint else {
        return Ok(Wanted::Nothing);
    };
    let url = Url::parse(&endpoint).ok().filter(Url::has_host);
    let wanted = match url.as_ref().map(Url::scheme) {
        Some("http") => Wanted::Http,
        Some("https") => Wanted::Https,
        _ => {
            return Err(format!(
                "{name}: is no URL of a collector; write one like http://localhost:4318"
            ));
        }
    };
    let protocol = first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
    if let Some((name, _)) = protocol.filter(|(_, protocol)| protocol != "http/protobuf") {
        return Err(format!(
            "{name}: only http/protobuf is spoken here; set that, and the collector's port for it (4318 usually)"
        ));
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::{Wanted, wanted_by};

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    fn wanted(variables: &[(&str, &str)]) -> Result<Wanted, String> {
        wanted_by(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn there_are_no_traces_unless_an_endpoint_is_named() {
        assert_eq!(wanted(&[]), Ok(Wanted::Nothing));
        assert_eq!(wanted(&[("OTEL_SERVICE_NAME", "relay")]), Ok(Wanted::Nothing));
        assert_eq!(wanted(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(Wanted::Nothing));
        assert_eq!(wanted(&[ENDPOINT]), Ok(Wanted::Http));
        assert_eq!(
            wanted(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c/v1/traces")]),
            Ok(Wanted::Https)
        );
    }

    #[test]
    fn traces_can_be_switched_off_by_either_standard_variable() {
        assert_eq!(wanted(&[ENDPOINT, ("OTEL_SDK_DISABLED", "True")]), Ok(Wanted::Nothing));
        assert_eq!(
            wanted(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]),
            Ok(Wanted::Nothing)
        );
    }

    #[test]
    fn what_is_not_there_is_refused_by_name_and_without_the_value() {
        for (name, value) in [
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "secret:4318"),
        ] {
            let problem = wanted(&[ENDPOINT, (name, value)]).expect_err(name);
            assert!(problem.starts_with(name) && !problem.contains(value), "{problem}");
        }
    }

    #[test]
    fn the_variable_for_traces_goes_before_the_one_for_every_signal() {
        let both = [
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
        ];
        assert_eq!(wanted(&both), Ok(Wanted::Http));
    }
}
