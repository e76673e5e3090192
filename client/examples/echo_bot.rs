//! Answers every message with the same text.
//!
//! `cargo run -p imago-client --example echo_bot -- ws://127.0.0.1:8000 <token>`

use std::env;

use futures::StreamExt;
use imago_client::{Client, Error, Outgoing};

#[tokio::main]
async fn main() -> Result<(), Error> {
    let mut args = env::args().skip(1);
    let (Some(gateway), Some(token)) = (args.next(), args.next()) else {
        eprintln!("usage: echo_bot <gateway address> <token>");
        return Ok(());
    };
    let bot = Client::builder([gateway]).token(token).connect().await?;
    println!("{} is online", bot.session().account);

    let mut state = bot.state();
    tokio::spawn(async move {
        while state.changed().await.is_ok() {
            println!("{}", *state.borrow_and_update());
        }
    });

    let mut messages = bot.messages();
    while let Some(message) = messages.next().await {
        // A copy of what the bot itself sent from elsewhere.
        if message.sent_to.is_some() {
            continue;
        }
        // The same message is answered under the same id: should the bot die right here and get
        // the message again in its next life, there is still one answer.
        let answer = Outgoing::text(message.body).id(format!("echo-{}", message.message_id));
        match bot.talk(message.sender.as_str(), answer).await {
            Ok(receipt) => println!("answered {} ({})", message.sender, receipt.message_id),
            Err(error) => println!("could not answer {}: {error}", message.sender),
        }
    }
    Ok(())
}
