//! Reads what Consul lists, entry by entry: any client with write permission puts there what it wants.

use std::{
    collections::{BTreeMap, HashMap},
    time::SystemTime,
};

use imago_kit::check_host;
use serde_json::{Map, Value};

use super::api::check_meta;
use crate::{Health, Instance, ServiceRegistration, unreadable::Skipped};

/// Id of the check that puts a node into maintenance.
const NODE_MAINTENANCE: &str = "_node_maintenance";
/// What the id of a check begins with that puts a service into maintenance.
const SERVICE_MAINTENANCE: &str = "_service_maintenance:";

/// Since when instances are critical, by id.
pub(super) type CriticalSince = HashMap<String, SystemTime>;

/// Reads an entry of `/v1/health/service`. Unknown fields are ignored, absent ones and `null` are
/// empty.
pub(super) fn read(entry: &Value, since: &CriticalSince) -> Result<Instance, Skipped> {
    let service = object(entry, "Service");
    let id = service.as_ref().ok().and_then(|service| service.get("ID")?.as_str());
    let id = id.unwrap_or_default().to_owned();
    let read = || {
        let service = registration(service?, object(entry, "Node")?)?;
        let health = health(entry, since.get(&service.id).copied())?;
        Ok(Instance { service, health })
    };
    read().map_err(|reason| Skipped { id, reason })
}

fn registration(
    service: &Map<String, Value>,
    node: &Map<String, Value>,
) -> Result<ServiceRegistration, String> {
    let (id, name) = (text(service, "ID")?, text(service, "Service")?);
    for (field, value) in [("ID", &id), ("Service", &name)] {
        if value.is_empty() {
            return Err(format!("{field}: expected a value, got none"));
        }
    }
    // Where the service has none, it is its node's.
    let own = text(service, "Address")?;
    let address = if own.is_empty() { text(node, "Address")? } else { own };
    check_host(&address).map_err(|expected| format!("Address: {expected}, got {address:?}"))?;
    let registration = ServiceRegistration {
        id,
        name,
        address,
        port: port(service)?,
        tags: tags(service)?,
        meta: meta(service)?,
    };
    check_meta(&registration).map_err(|(field, reason)| format!("{field}: {reason}"))?;
    Ok(registration)
}

/// Consul's statuses of all checks, those of the node included, made one: the worst counts. A check that
/// stands for maintenance is not one that fails.
fn health(entry: &Value, since: Option<SystemTime>) -> Result<Health, String> {
    let checks = match entry.get("Checks") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(checks)) => checks,
        Some(other) => return Err(format!("Checks: expected a list, got {}", kind(other))),
    };
    let mut health = Health::Passing;
    for check in checks {
        let check = check.as_object().ok_or("Checks: expected objects")?;
        let (id, status) = (text(check, "CheckID")?, text(check, "Status")?);
        let is_maintenance = id == NODE_MAINTENANCE || id.starts_with(SERVICE_MAINTENANCE);
        health = match (&*status, health) {
            ("", _) => return Err("Status of a check: expected a value, got none".to_owned()),
            ("critical", _) if !is_maintenance => {
                return Ok(Health::Critical { since: since.unwrap_or_else(SystemTime::now) });
            }
            ("critical", _) => Health::Maintenance,
            ("passing", worst) => worst,
            (_, Health::Maintenance) => Health::Maintenance,
            _ => Health::Warning,
        };
    }
    Ok(health)
}

fn object<'a>(of: &'a Value, field: &str) -> Result<&'a Map<String, Value>, String> {
    let value = of.get(field).unwrap_or(&Value::Null);
    value.as_object().ok_or_else(|| format!("{field}: expected an object, got {}", kind(value)))
}

fn text(of: &Map<String, Value>, field: &str) -> Result<String, String> {
    match of.get(field) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("{field}: expected a text, got {}", kind(other))),
    }
}

fn port(service: &Map<String, Value>) -> Result<u16, String> {
    let given = service.get("Port").unwrap_or(&Value::Null);
    let port = given.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
    let shown = || match given {
        Value::Number(number) => number.to_string(),
        other => kind(other).to_owned(),
    };
    port.ok_or_else(|| format!("Port: expected 1 to 65535, got {}", shown()))
}

fn tags(service: &Map<String, Value>) -> Result<Vec<String>, String> {
    const EXPECTED: &str = "Tags: expected a list of texts";
    let tags = match service.get("Tags") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(tags) => tags.as_array().ok_or(EXPECTED)?,
    };
    let texts = tags.iter().map(|tag| tag.as_str().map(ToOwned::to_owned));
    Ok(texts.collect::<Option<_>>().ok_or(EXPECTED)?)
}

fn meta(service: &Map<String, Value>) -> Result<BTreeMap<String, String>, String> {
    const EXPECTED: &str = "Meta: expected texts by name";
    let meta = match service.get("Meta") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(meta) => meta.as_object().ok_or(EXPECTED)?,
    };
    let texts = meta.iter().map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    Ok(texts.collect::<Option<_>>().ok_or(EXPECTED)?)
}

/// What a value is, without what it says.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// An entry with fields of its service replaced.
    fn entry(fields: &Value) -> Value {
        let mut service = json!({ "ID": "a", "Service": "chat", "Port": 1 });
        service.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "Node": { "Address": "10.0.0.1" }, "Service": service, "Checks": null })
    }

    fn health_of(checks: &[(&str, &str)], since: &CriticalSince) -> Health {
        let checks: Vec<_> =
            checks.iter().map(|(id, status)| json!({ "CheckID": id, "Status": status })).collect();
        let mut entry = entry(&json!({}));
        entry["Checks"] = Value::from(checks);
        read(&entry, since).unwrap().health
    }

    #[test]
    fn the_worst_of_all_checks_counts() {
        let none_before = CriticalSince::new();
        let of = |statuses: &[&str]| {
            let checks: Vec<_> = statuses.iter().map(|status| ("c", *status)).collect();
            health_of(&checks, &none_before)
        };
        assert_eq!(of(&[]), Health::Passing);
        assert_eq!(of(&["passing", "passing"]), Health::Passing);
        assert_eq!(of(&["passing", "warning"]), Health::Warning);
        assert!(matches!(of(&["warning", "critical", "passing"]), Health::Critical { .. }));
    }

    #[test]
    fn maintenance_is_no_failure_and_hides_none() {
        let none_before = CriticalSince::new();
        let (service, node) = ("_service_maintenance:a", "_node_maintenance");
        let of = |checks: &[(&str, &str)]| health_of(checks, &none_before);
        for checks in [
            &[(service, "critical")][..],
            &[("c", "passing"), (node, "critical")],
            &[("c", "warning"), (node, "critical"), (service, "critical"), ("d", "warning")],
        ] {
            assert_eq!(of(checks), Health::Maintenance, "{checks:?}");
        }
        for checks in
            [[("c", "critical"), (node, "critical")], [(service, "critical"), ("c", "critical")]]
        {
            assert!(matches!(of(&checks), Health::Critical { .. }), "{checks:?}");
        }
    }

    #[test]
    fn a_critical_service_stays_critical_since_it_was_first_seen_so() {
        let since = SystemTime::UNIX_EPOCH;
        let before = CriticalSince::from([("a".to_owned(), since)]);
        assert_eq!(health_of(&[("c", "critical")], &before), Health::Critical { since });
    }

    #[test]
    fn what_is_absent_or_null_or_unknown_is_no_fault() {
        let expected = ServiceRegistration::new("a", "chat", "10.0.0.1", 1);
        for fields in [
            json!({}),
            json!({ "Tags": null, "Meta": null, "Address": null }),
            json!({ "Address": "", "Tags": [], "Meta": {}, "Weights": { "Passing": 1 }, "x": [1] }),
        ] {
            let instance = read(&entry(&fields), &CriticalSince::new()).unwrap();
            assert_eq!(instance.service, expected, "{fields}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_field() {
        let many: Map<String, Value> =
            (0..65).map(|number| (format!("k{number}"), "v".into())).collect();
        for (fields, part) in [
            (json!({ "Port": 70_000 }), "Port: expected 1 to 65535, got 70000"),
            (json!({ "Port": 0 }), "got 0"),
            (json!({ "Port": -1 }), "got -1"),
            (json!({ "Port": 1.5 }), "got 1.5"),
            (json!({ "Port": "80" }), "got a text"),
            (json!({ "Port": null }), "got nothing"),
            (json!({ "ID": "" }), "ID: expected a value"),
            (json!({ "ID": null }), "ID: expected a value"),
            (json!({ "ID": 7 }), "ID: expected a text, got a number"),
            (json!({ "Service": null }), "Service: expected a value"),
            (json!({ "Address": "http://h" }), "Address: expected a host name"),
            (json!({ "Address": "a b" }), "Address: expected a host name"),
            (json!({ "Address": ["h"] }), "Address: expected a text, got a list"),
            (json!({ "Tags": "eu" }), "Tags: expected a list of texts"),
            (json!({ "Tags": [1] }), "Tags: expected a list of texts"),
            (json!({ "Meta": ["zone"] }), "Meta: expected texts by name"),
            (json!({ "Meta": { "zone": 1 } }), "Meta: expected texts by name"),
            (json!({ "Meta": { "zone": "x".repeat(513) } }), "meta.zone: expected at most 512"),
            (json!({ "Meta": many }), "meta: expected at most 64 entries"),
        ] {
            let skipped = read(&entry(&fields), &CriticalSince::new()).unwrap_err();
            assert!(skipped.reason.contains(part), "{fields}: {}", skipped.reason);
            let has_id = fields.get("ID").is_none();
            assert_eq!(skipped.id, if has_id { "a" } else { "" }, "{fields}");
        }
        for (whole, part) in [
            (json!(7), "Service: expected an object, got nothing"),
            (json!({ "Service": { "ID": "a", "Service": "chat", "Port": 1 } }), "Node: expected"),
        ] {
            let skipped = read(&whole, &CriticalSince::new()).unwrap_err();
            assert!(skipped.reason.contains(part), "{whole}: {}", skipped.reason);
        }
        for checks in [json!("none"), json!([1]), json!([{ "Status": 1 }]), json!([{}])] {
            let mut entry = entry(&json!({}));
            entry["Checks"] = checks;
            assert!(read(&entry, &CriticalSince::new()).is_err(), "{entry}");
        }
    }
}
