use super::*;

fn url(text: &str) -> RegistryUrl {
    RegistryUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What a backend that takes nothing says.
fn refusal(text: &str) -> String {
    let finished = url(text).parts().and_then(Parts::finish);
    finished.expect_err(text).to_string()
}

#[test]
fn each_part_that_is_not_taken_is_refused_by_name() {
    for (text, part) in [
        ("mine://me:hunter2@h", "password: not used"),
        ("mine://hunter2@h", "user: not used"),
        ("mine://#hunter2", "fragment"),
        ("mine://?hunter2", "expected name=value"),
        ("mine://?=hunter2", "expected name=value"),
        ("mine://?a=hunter2", "unknown parameter a, expected no parameters"),
        ("mine://h", "host: not used"),
        ("mine://h,i", "several hosts"),
        ("mine:///hunter2", "path, what follows the host: not used"),
    ] {
        let error = refusal(text);
        assert!(error.contains(part), "{text}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let port = url("mine://h:1");
    let mut parts = port.parts().unwrap();
    parts.host("").unwrap();
    assert_eq!(parts.finish().unwrap_err().to_string(), "port: not used");
    url("mine://").parts().and_then(Parts::finish).unwrap();
}

#[test]
fn a_list_of_hosts_is_taken_as_one() {
    let hosts = |text: &str| {
        let url = url(text);
        let mut parts = url.parts()?;
        let hosts = parts.hosts(2379)?;
        let credentials = parts.credentials();
        assert_eq!(parts.path(), "/base");
        assert_eq!(parts.text("dc")?.as_deref(), Some("x"));
        parts.finish()?;
        Ok::<_, Error>((hosts, credentials))
    };
    let (found, credentials) = hosts("mine://me:p%2Cw+@a,b:1,[::1]:2/base?dc=x").unwrap();
    assert_eq!(found, [("a".into(), 2379), ("b".into(), 1), ("::1".into(), 2)]);
    let (user, password) = credentials.unwrap();
    assert_eq!((&*user, password.expose()), ("me", "p,w+"));
    assert_eq!(hosts("mine:///base?dc=x").unwrap().0, []);
    for (text, part) in [
        ("mine://a,,b/base?dc=x", "host"),
        ("mine://a,b:0/base?dc=x", "port 0"),
        ("mine://a,b_!/base?dc=x", "host: expected"),
    ] {
        let error = hosts(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
    let error = RegistryUrl::parse("mine://a,b:x?token=hunter2").unwrap_err().to_string();
    assert!(error.contains("expected scheme://host:port") && !error.contains("hunter2"), "{error}");
}

#[test]
fn one_host_is_no_list() {
    let several = url("mine://a,b");
    for taken in [several.parts().unwrap().host(""), several.parts().unwrap().name()] {
        assert!(taken.unwrap_err().to_string().contains("several hosts"));
    }
}

#[test]
fn the_path_of_a_file_stands_behind_three_slashes() {
    let path = |text: &str| url(text).parts().and_then(|mut parts| parts.file_path());
    assert_eq!(path("mine:///var/a%20b").unwrap(), PathBuf::from("/var/a b"));
    for text in ["mine://var/a", "mine://", "mine:///"] {
        assert!(path(text).unwrap_err().to_string().contains("three slashes"), "{text}");
    }
}

#[test]
fn the_parameters_that_were_asked_for_are_named() {
    let parameters = url("mine://?check=udp");
    let mut parts = parameters.parts().unwrap();
    let error = parts.choice("check", &["http", "ttl"]).unwrap_err().to_string();
    assert_eq!(error, "check: expected http or ttl");
    let parameters = url("mine://?seed=1&seed=2&sede=3");
    let mut parts = parameters.parts().unwrap();
    assert_eq!(parts.choice("check", &["http", "ttl"]).unwrap(), "http");
    assert_eq!(parts.all("seed"), ["1", "2"]);
    assert_eq!(parts.text("dc").unwrap(), None);
    let error = parts.finish().unwrap_err().to_string();
    assert_eq!(error, "unknown parameter sede, expected check, seed or dc");
}

#[test]
fn a_shown_url_keeps_its_secrets() {
    let url = url("mine://me:hunter2@h/hunter2?token=hunter2");
    for shown in [url.to_string(), format!("{url:?}"), format!("{:?}", url.parts().unwrap().url)] {
        assert!(shown.contains("mine://") && !shown.contains("hunter2"), "{shown}");
    }
}
