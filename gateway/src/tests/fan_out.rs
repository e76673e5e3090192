//! Pushes to many clients at once.

use super::support::{World, eventually};

const CLIENTS: usize = 100;
const PUSHES: usize = 200;

#[tokio::test]
async fn a_burst_for_many_cuts_no_client_off_and_comes_in_order() {
    let world = World::start(&[("limits.queue_messages", "16")]).await;
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        clients.push(world.client(&format!("client{number}")).await);
    }
    eventually("all are known", || world.logic.accounts().len() == CLIENTS).await;
    for number in 0..PUSHES {
        world.logic.push_to_all(number.to_string());
    }
    for client in &mut clients {
        for number in 0..PUSHES {
            assert_eq!(client.recv_logic().await.body, number.to_string());
        }
        client.echo("still there").await;
    }
}
