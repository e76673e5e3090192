//! Messages as the columns of one statement that stores them all.

use deadpool_postgres::Object;
use tokio_postgres::{Error, Statement};

use super::rows::Values;
use crate::store::{Appended, NewMessage, ids::signed};

pub(super) const INSERT: &str = "
    INSERT INTO message (message_id, conversation, seq, sender, kind, body, extra, send_time, request)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::integer[],
                         $6::bytea[], $7::bytea[], $8::bigint[], $9::bytea[])";

/// The columns of the messages to store.
#[derive(Default)]
pub(super) struct Columns<'a> {
    ids: Vec<i64>,
    conversations: Vec<i64>,
    seqs: Vec<i64>,
    senders: Vec<&'a [u8]>,
    kinds: Vec<i32>,
    bodies: Vec<&'a [u8]>,
    extras: Vec<&'a [u8]>,
    send_times: Vec<i64>,
    requests: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    pub(super) fn push(
        &mut self,
        message: &'a NewMessage,
        appended: &Appended,
        conversation: i64,
        request: &'a [u8],
    ) {
        self.ids.push(appended.message_id);
        self.conversations.push(conversation);
        self.seqs.push(signed(appended.seq));
        self.senders.push(message.sender.as_str().as_bytes());
        self.kinds.push(message.content.kind);
        self.bodies.push(message.content.body.as_bytes());
        self.extras.push(message.content.extra.as_bytes());
        self.send_times.push(appended.send_time);
        self.requests.push(request);
    }

    pub(super) async fn insert(&self, client: &Object, insert: &Statement) -> Result<(), Error> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let columns: Values<'_, 9> = [
            &self.ids,
            &self.conversations,
            &self.seqs,
            &self.senders,
            &self.kinds,
            &self.bodies,
            &self.extras,
            &self.send_times,
            &self.requests,
        ];
        client.execute(insert, &columns).await.map(drop)
    }
}
