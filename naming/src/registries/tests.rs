use super::*;
use crate::Memory;

fn refusal(registries: &Registries, url: &str) -> String {
    match registries.check(url) {
        Err(error) => error.to_string(),
        Ok(()) => panic!("{url} was taken"),
    }
}

fn built_in(url: &str) -> String {
    refusal(&Registries::default(), url)
}

#[test]
fn what_a_url_carries_and_is_not_used_is_named() {
    for scheme in Registries::default().schemes() {
        for (rest, part) in [
            ("me:hunter2@127.0.0.1", "password: not used"),
            ("hunter2@127.0.0.1", "user: not used"),
            ("127.0.0.1#hunter2", "fragment"),
            ("127.0.0.1?hunter2", "expected name=value"),
            ("127.0.0.1?=hunter2", "expected name=value"),
            ("127.0.0.1?tokn=hunter2", "unknown parameter tokn"),
            ("a,b", "several hosts"),
            ("a;b", "several hosts"),
            ("127.0.0.1:port", "expected scheme://host:port"),
            ("127.0.0.1:70000", "expected scheme://host:port"),
        ] {
            let error = built_in(&format!("{scheme}://{rest}"));
            assert!(error.contains(part), "{scheme}://{rest}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(built_in(&format!("{scheme}:127.0.0.1")).contains("two slashes"));
        assert!(built_in(&format!("{scheme}:/127.0.0.1")).contains("two slashes"));
    }
    assert!(built_in("memory://a/b").contains("path"));
    assert!(built_in("memory://a:1").contains("port"));
}

#[test]
fn a_wrong_url_is_explained_without_its_secrets() {
    let schemes = any_of(&Registries::default().schemes().collect::<Vec<_>>());
    for (url, part) in [
        ("http://x", &*format!("unknown scheme http, expected {schemes}")),
        ("hunter2", "expected scheme://host:port, got \"(hidden)\""),
        ("", "expected scheme://host:port"),
    ] {
        let error = built_in(url);
        assert!(error.contains(part), "{url}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
        assert!(!error.contains("url: ") && !error.contains("naming"), "{error}");
    }
}

#[cfg(all(feature = "consul", feature = "gossip"))]
#[test]
fn the_schemes_of_this_crate_are_named_in_their_order() {
    let expected = "unknown scheme x, expected memory, gossip, consul or consul+https";
    assert_eq!(built_in("x://h"), expected);
}

#[cfg(not(feature = "consul"))]
#[test]
fn a_scheme_that_is_left_out_of_the_build_is_said_to_be() {
    let error = built_in("consul+https://h?token=hunter2");
    assert!(error.starts_with("this program is built without scheme consul+https, "), "{error}");
}

#[cfg(feature = "consul")]
#[test]
fn a_wrong_url_of_consul_is_explained_without_its_secrets() {
    for (url, part) in [
        ("consul://h:8500?token=hunter2&check=udp", "check: expected http or ttl"),
        ("consul://h?check=http;token=hunter2", "check: expected http or ttl"),
        ("consul://h;token=hunter2", "several hosts"),
        ("consul://h%20hunter2", "host: expected"),
        ("gossip://hunter2", "host: expected an IP address"),
        ("gossip://127.0.0.1?seed=u:hunter2@h:1", "seed: expected HOST:PORT"),
        ("gossip://127.0.0.1?seed=a:1&seed=hunter2", "seed: expected HOST:PORT"),
        ("gossip://127.0.0.1?advertise=hunter2", "advertise: expected the IP:PORT"),
        ("gossip://127.0.0.1?advertise=[::1]:5", "advertise: expected an address of"),
        ("consul://h?token=a&token=b", "parameter token: expected it once, got it 2 times"),
        ("consul://h?token=hunter2%0a", "token: expected"),
        ("consul://h_:x?token=hunter2", "expected scheme://host:port"),
        ("consul://me:hunter2@h", "password: not used, a token is given as ?token=TOKEN"),
        ("consul://300.1.1.1", "host: expected an IPv4 address"),
        ("consul://a:0", "port 0"),
        ("consul://h?wait=20", "expected a time like"),
        ("consul://h?wait=601s", "at most 600s"),
        ("consul://h?verify_interval=1ms", "from 100ms"),
        ("consul://h?tokn=a", "unknown parameter tokn, expected token, dc, check, check_interval,"),
    ] {
        let error = built_in(url);
        assert!(error.contains(part), "{url}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    Registries::default()
        .check("consul://h:8500?token=abc&dc=x&check=ttl&ttl=2s&wait=30s")
        .unwrap();
}

#[cfg(feature = "gossip")]
#[test]
fn a_wrong_url_of_gossip_is_explained() {
    for (url, part) in [
        ("gossip://127.0.0.1/b", "path"),
        ("gossip://somewhere:0", "expected an IP address"),
        ("gossip://127.0.0.1?seed=nowhere", "expected HOST:PORT"),
        ("gossip://127.0.0.1?seed=http://a:1", "expected HOST:PORT"),
        ("gossip://127.0.0.1?seed=a:0", "expected a port from 1"),
        ("gossip://127.0.0.1?advertise=here", "expected the IP:PORT"),
        ("gossip://127.0.0.1?advertise=0.0.0.0:1", "expected the IP:PORT"),
        ("gossip://127.0.0.1?cluster=a&cluster=b", "parameter cluster"),
        ("gossip://127.0.0.1?sed=a", "unknown parameter sed, expected advertise, seed or cluster"),
    ] {
        let error = built_in(url);
        assert!(error.contains(part), "{url}: {error}");
    }
    for url in [
        "gossip://0.0.0.0:7946?seed=a:1&seed=10.0.0.1:2&cluster=x",
        "gossip://[::]:0?advertise=[::1]:7&seed=[::1]:3",
    ] {
        Registries::default().check(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    }
}

#[tokio::test]
async fn a_scheme_of_another_crate_is_checked_and_opened_as_a_built_in_one() {
    let read = |url: &RegistryUrl| {
        let mut parts = url.parts()?;
        let name = parts.name()?;
        let token = parts.text("token")?;
        parts.finish()?;
        match token.as_deref() {
            Some("hunter2") => Ok(name),
            _ => Err(Error::Url("token: expected the right one".to_owned())),
        }
    };
    let open = async |name: String| Ok(Memory::named(&name));
    let registries = Registries::default().with("mine", backend(read, open));
    let opened = registries.open("mine://a-scheme?token=hunter2").await.unwrap();
    let service = crate::ServiceRegistration::new("a", "chat", "h", 1);
    opened.register(&service).await.unwrap();
    assert_eq!(Memory::named("a-scheme").find("chat", &[]).await.unwrap(), [service]);

    let wrong = refusal(&registries, "mine://a?token=hunter3");
    assert_eq!(wrong, "token: expected the right one");
    let Err(error) = registries.open("mine://a?token=hunter3").await else { panic!("opened") };
    assert_eq!(error.to_string(), wrong);
    let error = refusal(&registries, "mine://a?token=hunter2&tokn=hunter2");
    assert_eq!(error, "unknown parameter tokn, expected token");
    let error = refusal(&registries, "mein://a?token=hunter2");
    assert!(error.ends_with(" or mine") && !error.contains("hunter2"), "{error}");
    assert!(format!("{registries:?}").contains("\"mine\""));
}

#[tokio::test]
async fn a_closure_is_a_backend_and_replaces_one() {
    let refused = |_: RegistryUrl| async { Err::<Memory, _>(Error::Unavailable("first".into())) };
    let counted = |url: RegistryUrl| async move { Ok(Memory::named(&url.parts()?.name()?)) };
    let registries = Registries::none().with("memory", refused).with("memory", counted);
    assert_eq!(registries.schemes().collect::<Vec<_>>(), ["memory"]);
    registries.check("memory://x?whatever=1").unwrap();
    registries.open("memory://x").await.unwrap();
}

#[test]
#[should_panic(expected = "\"my_scheme\" is no scheme of a URL")]
fn a_scheme_that_no_url_can_have_is_a_mistake() {
    drop(Registries::none().with("my_scheme", |_: RegistryUrl| async { Ok(Memory::new()) }));
}
