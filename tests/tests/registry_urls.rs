//! URLs of registries, as configurations name them.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::sync::Arc;

use imago_naming::{Naming, ServiceRegistration};
use imago_tests::ConsulAgent;

const SERVICE: &str = "test_service";

async fn found(registry: &Arc<dyn Naming>) -> Vec<String> {
    let found = registry.find(SERVICE, &[]).await.unwrap();
    found.into_iter().map(|service| service.id).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_chosen_by_url_and_a_wrong_url_is_explained() {
    let first = imago_naming::open("memory://shared").await.unwrap();
    let second = imago_naming::open("memory://shared").await.unwrap();
    first.register(&ServiceRegistration::new("a", SERVICE, "h", 1)).await.unwrap();
    assert_eq!(found(&second).await, ["a"]);
    let gossip = imago_naming::open("gossip://127.0.0.1:0").await.unwrap();
    assert!(!gossip.is_consistent());
    let agent = ConsulAgent::start().await;
    let consul = format!("consul://{}?check=ttl&wait=30s", agent.address());
    assert_eq!(found(&imago_naming::open(&consul).await.unwrap()).await, [""; 0]);

    for (url, words) in [
        ("zebra://host", "unknown scheme zebra"),
        ("consul://host:8500?wat=1", "unknown parameter wat"),
        ("consul://host:8500?check=udp", "expected http or ttl"),
        ("consul://host:8500?wait=20", "expected a time like"),
        ("consul://host:8500?wait=11000s", "at most 600s"),
        ("consul://\"host\":8500", "expected a host name"),
        ("consul://a%20b:8500", "expected a host name"),
        ("consul://300.0.0.1:8500", "expected an IPv4 address"),
        ("consul://::1:8500", "expected scheme://host:port"),
        ("gossip://127.0.0.1:0?seed=nowhere", "expected HOST:PORT"),
        ("gossip://127.0.0.1:0?seed=h:0", "expected a port"),
        ("gossip://127.0.0.1:0?seed=http://h:1", "expected HOST:PORT"),
        ("gossip://127.0.0.1:0?seed=a%20b:1", "expected a host name"),
        ("gossip://127.0.0.1:0?seed=0.0.0.0:1", "not a wildcard"),
        ("gossip://127.0.0.1:0?seed=[::1]:1", "IPv4 or IPv6"),
        ("gossip://[::1]:0?seed=127.0.0.1:1", "IPv4 or IPv6"),
        ("gossip://[::1]:0?seed=::1:1", "in brackets"),
        ("gossip://127.0.0.1:0?advertise=0.0.0.0:1", "that others reach"),
        ("gossip://127.0.0.1:0?advertise=[::]:1", "that others reach"),
        ("gossip://127.0.0.1:0?advertise=10.0.0.1:0", "that others reach"),
        ("gossip://somewhere:0", "expected an IP address"),
        ("memory://name?x=1", "unknown parameter x"),
        ("no url", "expected scheme://host:port"),
    ] {
        let Err(error) = imago_naming::open(url).await else { panic!("{url} was taken") };
        assert!(error.to_string().contains(words), "{url}: {error}");
        assert!(imago_naming::check(url).unwrap_err().to_string().contains(words), "{url}");
    }
    for url in [
        "gossip://[::1]:7946?seed=[::1]:7947&seed=h.example:1&advertise=[fd00::5]:7946",
        "consul://[::1]:8500",
        "consul+https://h.example",
        "memory://x",
    ] {
        imago_naming::check(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    }
}
