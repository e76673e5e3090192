//! Shouts at another account by a command of the application's own, and hears what is shouted back.
//!
//! The logic server is the example `custom_handler` of `imago-logic`, which knows the command `my.shout`.
//! `cargo run -p imago-client --example shout -- ws://127.0.0.1:8000 <token> <account> <words>`

use std::env;

use futures::StreamExt;
use imago_client::{Client, Error};
use imago_proto::msg::{MessagePush, MessageReq, MessageResp};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [gateway, token, account, words] = args.as_slice() else {
        eprintln!("usage: shout <gateway address> <token> <account> <words>");
        return Ok(());
    };
    let client = Client::builder([gateway]).token(token).connect().await?;
    // Before the request: a push that comes earlier is not delivered later.
    let mut pushes = client.pushes();

    let shout = MessageReq { body: words.clone(), ..MessageReq::default() };
    match client.request::<MessageResp>("my.shout", account, &shout).await {
        Ok(_) => println!("shouted at {account}"),
        // It may have been heard: an application decides whether to shout twice.
        Err(unknown @ Error::OutcomeUnknown { .. }) => println!("{unknown}"),
        Err(error) => return Err(error),
    }

    while let Some(push) = pushes.next().await {
        if push.command == "my.shout" {
            let heard: MessagePush = push.decode()?;
            println!("{} shouts {}", heard.sender, heard.body);
        }
    }
    Ok(())
}
