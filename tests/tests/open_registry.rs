//! A cluster on a registry that a crate outside of ours adds: the folder of `examples/registry`.

#![allow(clippy::unwrap_used, reason = "in helpers of tests too, a panic is the report")]

use std::{process::Command, time::Duration};

use futures::StreamExt;
use imago_tests::{World, eventually, program};

const PATIENCE: Duration = Duration::from_secs(30);

fn example(name: &str) -> String {
    program(name).display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_find_each_other_in_a_folder_and_chat() {
    let world = World::gossip().await;
    let registry = world.folder().join("registry");
    let url = format!("folder://{}?interval=20ms", registry.display());
    let naming: [(&str, &str); 1] = [("naming.url", &url)];
    let (logic, gateway) = (example("folder-logic"), example("folder-gateway"));
    let mut logics = [
        world.logic_by(&logic, "logic-1", &naming).await,
        world.logic_by(&logic, "logic-2", &naming).await,
    ];
    let gateways = [
        world.gateway_by(&gateway, "gateway-1", &naming).await,
        world.gateway_by(&gateway, "gateway-2", &naming).await,
    ];
    for server in logics.iter().chain(&gateways) {
        server.ready().await;
    }
    for id in ["logic-1", "logic-2", "gateway-1", "gateway-2"] {
        assert!(registry.join(format!("{id}.json")).exists(), "{id} is not in the folder");
    }
    assert!(gateways[0].log().contains("folder"), "the log does not say which registry it is");

    let alice = world.client("alice", &[&gateways[0]]).await;
    let bob = world.client("bob", &[&gateways[1]]).await;
    let mut received = bob.messages();
    alice.talk("bob", "hello").await.unwrap();
    assert_eq!(received.next().await.unwrap().body, "hello");

    // One that dies is critical for the others, and one that leaves is gone.
    logics[0].kill9().await;
    let monitor = gateways[0].monitor();
    let health = async |id: &str| {
        let peers = monitor.peers().await.ok()?.peers;
        peers.into_iter().find(|peer| peer.id == id).map(|peer| peer.health)
    };
    eventually(PATIENCE, "the killed server is critical", || async {
        (health("logic-1").await?.starts_with("critical")).then_some(())
    })
    .await;
    alice.talk("bob", "still there?").await.unwrap();
    assert_eq!(received.next().await.unwrap().body, "still there?");
    assert_eq!(logics[1].stop().await, Some(0));
    assert!(!registry.join("logic-2.json").exists(), "it has not left the folder");
}

#[test]
fn a_check_of_the_configuration_knows_the_scheme() {
    let check = |name: &str, url: &str| {
        let secret = "0123456789abcdef";
        let checked = Command::new(program(name))
            .args(["--check", "--set", &format!("naming.url={url}")])
            .env("IMAGO_CLUSTER__SECRET", secret)
            .env("IMAGO_AUTH__JWT_SECRET", secret)
            .output()
            .unwrap();
        (checked.status.success(), String::from_utf8(checked.stderr).unwrap())
    };
    for name in ["folder-gateway", "folder-logic"] {
        let (is_right, said) = check(name, "folder:///run/imago?interval=50ms");
        assert!(is_right, "{said}");
        let (is_right, said) = check(name, "folder:///run/imago?intreval=50ms");
        assert!(
            !is_right && said.contains("unknown parameter intreval, expected interval"),
            "{said}"
        );
        let (is_right, said) = check(name, "floder:///run/imago");
        let known =
            "unknown scheme floder, expected memory, gossip, consul, consul+https or folder";
        assert!(!is_right && said.contains(known), "{said}");
    }
    for name in ["gateway", "logic"] {
        let (is_right, said) = check(name, "folder:///run/imago");
        assert!(!is_right && said.contains("unknown scheme folder, expected memory"), "{said}");
    }
}
