//! OpenTelemetry's environment variables, as far as they decide whether there are traces and where
//! they go. The others (samplers, headers, timeouts, queue, resource) the SDK reads itself.

use std::env;

use url::Url;

/// Looks up a variable. An empty one counts as not set (OpenTelemetry specification, "Environment
/// variables").
type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Whether the environment asks for traces.
///
/// # Errors
/// It asks for something that the relay does not have; says what to set instead.
pub(super) fn wanted() -> Result<bool, String> {
    wanted_by(&|name| env::var(name).ok())
}

/// The name that traces are filed under where the environment gives none.
pub(super) fn names_a_service() -> bool {
    let set = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    set("OTEL_SERVICE_NAME").is_some()
        || set("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="))
}

fn wanted_by(environment: Lookup<'_>) -> Result<bool, String> {
    let set = |name: &str| environment(name).filter(|value| !value.trim().is_empty());
    // The first that is set decides: the one for traces goes before the one for every signal.
    let first = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, set(name)?)));

    if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    match set("OTEL_TRACES_EXPORTER").as_deref() {
        None | Some("otlp") => {}
        Some("none") => return Ok(false),
        Some(_) => return Err("OTEL_TRACES_EXPORTER: the relay has no such exporter; set otlp or none".to_owned()),
    }
    let endpoint = first(["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]);
    let Some((name, endpoint)) = endpoint else {
        return Ok(false);
    };
    let is_web = Url::parse(&endpoint).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !is_web {
        return Err(format!(
            "{name}: is no URL of a collector; write one like http://localhost:4318"
        ));
    }
    let protocol = first(["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"]);
    if let Some((name, _)) = protocol.filter(|(_, protocol)| protocol != "http/protobuf") {
        return Err(format!(
            "{name}: the relay speaks http/protobuf only; set that, and the collector's port for it (4318 usually)"
        ));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::wanted_by;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    fn wanted(variables: &[(&str, &str)]) -> Result<bool, String> {
        wanted_by(&|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn there_are_no_traces_unless_an_endpoint_is_named() {
        assert_eq!(wanted(&[]), Ok(false));
        assert_eq!(wanted(&[("OTEL_SERVICE_NAME", "relay")]), Ok(false));
        assert_eq!(wanted(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(false));
        assert_eq!(wanted(&[ENDPOINT]), Ok(true));
        assert_eq!(
            wanted(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://c/v1/traces")]),
            Ok(true)
        );
    }

    #[test]
    fn traces_can_be_switched_off_by_either_standard_variable() {
        assert_eq!(wanted(&[ENDPOINT, ("OTEL_SDK_DISABLED", "True")]), Ok(false));
        assert_eq!(wanted(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")]), Ok(false));
    }

    #[test]
    fn what_the_relay_does_not_have_is_refused_by_name_and_without_the_value() {
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
        assert_eq!(wanted(&both), Ok(true));
    }
}
