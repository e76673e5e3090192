//! Devices that are our SDK.

use std::time::Duration;

use futures::StreamExt;
use imago_client::{Client, Error, Message, State};
use tokio::{sync::mpsc, time::sleep};

use super::{Order, Spec, To, Transport};
use crate::{Arrival, Chronicle, DeviceId, Ending};

/// Pause before a client is made again that could not be made.
const PAUSE: Duration = Duration::from_millis(200);

/// Lives until it is dropped.
pub(super) async fn live(
    spec: Spec,
    token: String,
    id: DeviceId,
    chronicle: &Chronicle,
    mut orders: mpsc::Receiver<Order>,
) {
    let client = loop {
        match connect(&spec, &token).await {
            Ok(client) => break client,
            Err(_) => sleep(PAUSE).await,
        }
    };
    tokio::join!(
        watch(&client, id, chronicle),
        receive(&client, id, chronicle),
        send(&client, id, chronicle, &mut orders),
    );
}

async fn connect(spec: &Spec, token: &str) -> Result<Client, Error> {
    let urls = spec.doors.iter().map(|door| match spec.transport {
        Transport::WebSocket => format!("ws://{}", door.ws),
        Transport::Tcp => format!("tcp://{}", door.tcp),
    });
    Client::builder(urls)
        .token(token)
        .backoff(Duration::from_millis(50), Duration::from_secs(1))
        .talk_deadline(Duration::from_secs(60))
        .connect_timeout(Duration::from_secs(20))
        .connect()
        .await
}

async fn watch(client: &Client, id: DeviceId, chronicle: &Chronicle) {
    let mut state = client.state();
    let mut was_online = false;
    loop {
        let now = state.borrow_and_update().clone();
        let is_online = now == State::Online;
        if is_online != was_online {
            if is_online {
                chronicle.logs_in(id)
            } else {
                chronicle.loses(id)
            }
            was_online = is_online;
        }
        if let State::Closed { why } = now {
            chronicle.faults(id, &format!("the client closed: {why}"));
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}

async fn receive(client: &Client, id: DeviceId, chronicle: &Chronicle) {
    let mut messages = client.messages();
    while let Some(message) = messages.next().await {
        let Message { conversation, seq, body, .. } = message;
        let (conversation, seq) = (conversation.to_string(), seq.0);
        chronicle.arrives(id, Arrival { conversation, seq, body });
    }
}

/// One after the other: so they are sent in the order of the calls.
async fn send(
    client: &Client,
    id: DeviceId,
    chronicle: &Chronicle,
    orders: &mut mpsc::Receiver<Order>,
) {
    while let Some(Order { to, number, body, ended }) = orders.recv().await {
        let sent = match to {
            To::Account(name) => client.talk(name, body).await,
            To::Group(name) => client.group_talk(name, body).await,
        };
        let ending = match sent {
            Ok(receipt) => Ending::Accepted {
                conversation: receipt.conversation.to_string(),
                seq: receipt.seq.0,
            },
            Err(Error::Unconfirmed { .. }) => Ending::Lost,
            Err(error) => Ending::Refused(error.to_string()),
        };
        chronicle.ends(id, number, ending.clone());
        // The one who ordered it may not wait.
        let _ = ended.send(ending);
    }
}
