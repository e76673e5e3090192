//! Messages of many senders, stored in one transaction with a statement for each step.

use std::collections::HashMap;

use async_trait::async_trait;
use deadpool_postgres::Object;
use futures::try_join;
use imago_container::unix_nanos;
use imago_proto::GroupId;
use quick_cache::sync::Cache;
use tokio_postgres::Row;

use super::{
    columns::{Columns, INSERT},
    failure::Failure,
    locks,
    queue::Work,
    rows::{Values, content, digest, place, target, text},
};
use crate::store::{
    Appended, Denied, First, NewMessage, Target,
    ids::{FIRST_ID, Kind, conversation_id, group_row, seq, sides},
};

/// Direct conversations whose rows are remembered: about 20 MB. Overflow policy: read again.
const REMEMBERED: usize = 100_000;

const LOCK: &str = "SELECT pg_advisory_xact_lock($1)";
const NEWEST: &str = "SELECT coalesce(max(message_id), 0) FROM message";
const REPEATS: &str = "
    SELECT r.place, m.message_id, m.send_time, m.seq, m.kind, m.body, m.extra, c.id, c.a = '',
           CASE c.a WHEN m.sender THEN c.b ELSE c.a END, coalesce(g.version, 0)
    FROM unnest($1::bytea[]) WITH ORDINALITY AS r (request, place)
    JOIN message m ON m.request = r.request
    JOIN conversation c ON c.id = m.conversation
    LEFT JOIN grp g ON g.conversation = c.id";
const CONVERSATIONS: &str = "
    SELECT s.place, c.id
    FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) WITH ORDINALITY AS s (app, a, b, place)
    JOIN conversation c ON c.app = s.app AND c.a = s.a AND c.b = s.b";
const GROUPS: &str = "
    SELECT s.place, g.version, EXISTS (
        SELECT FROM member k
        WHERE k.app = s.app AND k.account = s.sender AND k.conversation = s.id
          AND k.until IS NULL)
    FROM unnest($1::bytea[], $2::bigint[], $3::bytea[]) WITH ORDINALITY AS s (app, id, sender, place)
    JOIN conversation c ON c.id = s.id AND c.app = s.app
    JOIN grp g ON g.conversation = c.id";
const MAKE: &str = "
    WITH made AS (
        INSERT INTO conversation (app, a, b)
        SELECT s.app, s.a, s.b FROM unnest($1::bytea[], $2::bytea[], $3::bytea[]) AS s (app, a, b)
        RETURNING id, app, a, b
    ), members AS (
        INSERT INTO member (app, account, conversation)
        SELECT app, a, id FROM made UNION SELECT app, b, id FROM made
    )
    SELECT id, app, a, b FROM made";
const ADVANCE: &str = "
    UPDATE conversation c SET head_seq = c.head_seq + s.count
    FROM unnest($1::bigint[], $2::bigint[]) AS s (id, count)
    WHERE c.id = s.id RETURNING c.id, c.head_seq";

/// App and both sides of a direct conversation.
type Pair = (String, String, String);

/// Stores messages.
pub(super) struct Append {
    /// Rows of direct conversations, which never change nor go.
    known: Cache<Pair, i64>,
}

impl Append {
    pub(super) fn new() -> Self {
        Self { known: Cache::new(REMEMBERED) }
    }
}

/// Where a message belongs.
#[derive(Clone, Copy)]
struct Home {
    kind: Kind,
    conversation: i64,
    members: u64,
}

type Outcome = Result<Appended, Denied>;

#[async_trait]
impl Work for Append {
    type Job = NewMessage;
    type Outcome = Outcome;

    async fn run(
        &self,
        client: &Object,
        messages: &[&NewMessage],
    ) -> Result<Vec<Outcome>, Failure> {
        let requests: Vec<Vec<u8>> = messages
            .iter()
            .map(|message| digest(&message.app, &message.sender, &message.request))
            .collect();
        let pairs: Vec<Option<Pair>> = messages.iter().map(|message| pair(message)).collect();
        let asked = self.ask(client, messages, &requests, &pairs).await?;
        let mut batch = Batch::new(messages, &requests, asked);
        batch.make_conversations(client, &pairs).await?;
        batch.number(client).await?;
        batch.commit(client).await?;
        for (pair, row) in batch.asked.rows {
            self.known.insert(pair, row);
        }
        Ok(batch.outcomes.into_iter().flatten().collect())
    }
}

/// What the database says before anything is written.
struct Asked {
    newest: i64,
    repeats: HashMap<usize, Appended>,
    rows: HashMap<Pair, i64>,
    /// By message: version of the group, and whether the sender is a member.
    groups: HashMap<usize, (u64, bool)>,
}

fn pair(message: &NewMessage) -> Option<Pair> {
    let Target::Account(receiver) = &message.target else { return None };
    let (a, b) = sides(&message.sender, receiver);
    Some((message.app.to_string(), a.to_string(), b.to_string()))
}

/// The columns that name pairs.
fn columns<'a>(pairs: impl Iterator<Item = &'a Pair>) -> [Vec<&'a [u8]>; 3] {
    let mut columns = [Vec::new(), Vec::new(), Vec::new()];
    for (app, a, b) in pairs {
        for (column, name) in columns.iter_mut().zip([app, a, b]) {
            column.push(name.as_bytes());
        }
    }
    columns
}

impl Append {
    /// Begins the transaction, waits for its turn, and asks everything in one round trip.
    async fn ask(
        &self,
        client: &Object,
        messages: &[&NewMessage],
        requests: &[Vec<u8>],
        pairs: &[Option<Pair>],
    ) -> Result<Asked, Failure> {
        let mut rows = HashMap::new();
        let mut unknown: Vec<&Pair> = Vec::new();
        for pair in pairs.iter().flatten() {
            match self.known.get(pair) {
                Some(row) => drop(rows.insert(pair.clone(), row)),
                None => unknown.push(pair),
            }
        }
        let [apps, ones, others] = columns(unknown.iter().copied());
        let (mut group_places, mut group_apps) = (Vec::new(), Vec::new());
        let (mut group_rows, mut senders) = (Vec::new(), Vec::new());
        for (place, message) in messages.iter().enumerate() {
            let Target::Group(group) = &message.target else { continue };
            let Some(row) = group_row(group) else { continue };
            group_places.push(place);
            group_apps.push(message.app.as_str().as_bytes());
            group_rows.push(row);
            senders.push(message.sender.as_str().as_bytes());
        }
        let statements = try_join!(
            client.prepare_cached(LOCK),
            client.prepare_cached(REPEATS),
            client.prepare_cached(CONVERSATIONS),
            client.prepare_cached(GROUPS),
            client.prepare_cached(NEWEST),
        )?;
        let (lock, repeats, conversations, groups, newest) = statements;
        // They are sent in this order, and each sees what was committed before it began: all but
        // the first two, everything of those who had the lock before.
        let asked: Values<'_, 1> = [&requests];
        let direct: Values<'_, 3> = [&apps, &ones, &others];
        let in_groups: Values<'_, 3> = [&group_apps, &group_rows, &senders];
        let ((), _, found, existing, grouped, newest) = try_join!(
            client.batch_execute("BEGIN"),
            client.query_one(&lock, &[&locks::WRITES]),
            client.query(&repeats, &asked),
            client.query(&conversations, &direct),
            client.query(&groups, &in_groups),
            client.query_one(&newest, &[]),
        )?;
        let repeats = found.iter().map(repeat).collect::<Result<_, Failure>>()?;
        for row in &existing {
            if let Some(pair) = unknown.get(place(row, 0)?) {
                rows.insert((*pair).clone(), row.try_get(1)?);
            }
        }
        let mut members = HashMap::new();
        for row in &grouped {
            let version: i64 = row.try_get(1)?;
            if let Some(message) = group_places.get(place(row, 0)?) {
                members.insert(*message, (version.unsigned_abs(), row.try_get(2)?));
            }
        }
        Ok(Asked { newest: newest.try_get(0)?, repeats, rows, groups: members })
    }
}

fn repeat(row: &Row) -> Result<(usize, Appended), Failure> {
    let (conversation, kind) = (row.try_get(7)?, Kind::of(row.try_get(8)?));
    let version: i64 = row.try_get(10)?;
    let target = target(kind, conversation, text(row, 9)?);
    let appended = Appended {
        message_id: row.try_get(1)?,
        send_time: row.try_get(2)?,
        conversation: conversation_id(kind, conversation),
        seq: seq(row.try_get(3)?),
        after: imago_proto::COMMIT_UNKNOWN,
        members: version.unsigned_abs(),
        repeat_of: Some(First { target, content: content(row, 4)? }),
    };
    Ok((place(row, 0)?, appended))
}

/// Messages on their way into the database.
struct Batch<'a> {
    messages: &'a [&'a NewMessage],
    requests: &'a [Vec<u8>],
    asked: Asked,
    /// Set for what needs no storing, and then for what is stored.
    outcomes: Vec<Option<Outcome>>,
    /// Of two equal requests in the batch, the place of the first, by that of the second.
    doubles: HashMap<usize, usize>,
    /// Messages to store, in order, with where they belong.
    fresh: Vec<(usize, Home)>,
}

impl<'a> Batch<'a> {
    fn new(messages: &'a [&'a NewMessage], requests: &'a [Vec<u8>], asked: Asked) -> Self {
        let mut firsts = HashMap::new();
        let mut doubles = HashMap::new();
        for (place, request) in requests.iter().enumerate() {
            match firsts.get(request) {
                Some(first) => drop(doubles.insert(place, *first)),
                None => drop(firsts.insert(request, place)),
            }
        }
        let outcomes = (0..messages.len())
            .map(|place| asked.repeats.get(&place).map(|first| Ok(first.clone())))
            .collect();
        Self { messages, requests, asked, outcomes, doubles, fresh: Vec::new() }
    }

    /// Finds where each message belongs; makes the conversations that are not there yet.
    async fn make_conversations(
        &mut self,
        client: &Object,
        pairs: &[Option<Pair>],
    ) -> Result<(), Failure> {
        let is_open = |place: &usize| {
            self.outcomes.get(*place).is_some_and(Option::is_none)
                && !self.doubles.contains_key(place)
        };
        let open: Vec<usize> = (0..self.messages.len()).filter(is_open).collect();
        let mut missing: Vec<&Pair> = open
            .iter()
            .filter_map(|place| pairs.get(*place)?.as_ref())
            .filter(|pair| !self.asked.rows.contains_key(*pair))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            let [apps, ones, others] = columns(missing.into_iter());
            let make = client.prepare_cached(MAKE).await?;
            for row in client.query(&make, &[&apps, &ones, &others]).await? {
                let pair = (text(&row, 1)?, text(&row, 2)?, text(&row, 3)?);
                self.asked.rows.insert(pair, row.try_get(0)?);
            }
        }
        for place in open {
            match self.home(place, pairs.get(place).and_then(Option::as_ref))? {
                Ok(home) => self.fresh.push((place, home)),
                Err(denied) => self.set(place, Err(denied)),
            }
        }
        Ok(())
    }

    fn set(&mut self, place: usize, outcome: Outcome) {
        if let Some(slot) = self.outcomes.get_mut(place) {
            *slot = Some(outcome);
        }
    }

    fn home(&self, place: usize, pair: Option<&Pair>) -> Result<Result<Home, Denied>, Failure> {
        if let Some(pair) = pair {
            let lost = || Failure::Again("a conversation is not there".to_owned());
            let row = self.asked.rows.get(pair).ok_or_else(lost)?;
            return Ok(Ok(Home { kind: Kind::Direct, conversation: *row, members: 0 }));
        }
        let Some(message) = self.messages.get(place) else { return Ok(Err(Denied::UnknownGroup)) };
        Ok(self.group_home(place, message))
    }

    fn group_home(&self, place: usize, message: &NewMessage) -> Result<Home, Denied> {
        let group: Option<&GroupId> = match &message.target {
            Target::Group(group) => Some(group),
            Target::Account(_) => None,
        };
        let row = group.and_then(group_row).ok_or(Denied::UnknownGroup)?;
        let (members, is_member) = self.asked.groups.get(&place).ok_or(Denied::UnknownGroup)?;
        if !is_member && !message.open_talk {
            return Err(Denied::NotMember);
        }
        Ok(Home { kind: Kind::Group, conversation: row, members: *members })
    }

    /// Gives each message its sequence and its id.
    async fn number(&mut self, client: &Object) -> Result<(), Failure> {
        let mut counts: HashMap<i64, i64> = HashMap::new();
        for (_, home) in &self.fresh {
            *counts.entry(home.conversation).or_default() += 1;
        }
        if counts.is_empty() {
            return Ok(());
        }
        let (rows, numbers): (Vec<i64>, Vec<i64>) = counts.iter().unzip();
        let advance = client.prepare_cached(ADVANCE).await?;
        let mut next: HashMap<i64, i64> = HashMap::new();
        for row in client.query(&advance, &[&rows, &numbers]).await? {
            let (conversation, head): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let count = counts.get(&conversation).copied().unwrap_or_default();
            next.insert(conversation, head - count);
        }
        let mut last_id = self.asked.newest;
        for (place, home) in self.fresh.clone() {
            let lost = || Failure::Again("a conversation is not there".to_owned());
            let number = next.get_mut(&home.conversation).ok_or_else(lost)?;
            *number += 1;
            let send_time = unix_nanos();
            last_id = send_time.max(last_id.saturating_add(1)).max(FIRST_ID);
            let appended = Appended {
                message_id: last_id,
                send_time,
                conversation: conversation_id(home.kind, home.conversation),
                seq: seq(*number),
                after: imago_proto::COMMIT_UNKNOWN,
                members: home.members,
                repeat_of: None,
            };
            self.set(place, Ok(appended));
        }
        Ok(())
    }

    /// Stores the fresh messages, and ends the transaction.
    async fn commit(&mut self, client: &Object) -> Result<(), Failure> {
        self.answer_doubles();
        let mut columns = Columns::default();
        for (place, home) in &self.fresh {
            let stored = (
                self.messages.get(*place),
                self.outcomes.get(*place).and_then(Option::as_ref),
                self.requests.get(*place),
            );
            if let (Some(message), Some(Ok(appended)), Some(request)) = stored {
                columns.push(message, appended, home.conversation, request);
            }
        }
        let insert = client.prepare_cached(INSERT).await?;
        try_join!(columns.insert(client, &insert), client.batch_execute("COMMIT"))?;
        Ok(())
    }

    fn answer_doubles(&mut self) {
        for (place, first) in self.doubles.clone() {
            let Some(Some(outcome)) = self.outcomes.get(first).cloned() else { continue };
            let repeat = outcome.map(|appended| match self.messages.get(first) {
                Some(message) if appended.repeat_of.is_none() => {
                    let (target, content) = (message.target.clone(), message.content.clone());
                    Appended { repeat_of: Some(First { target, content }), ..appended }
                }
                _ => appended,
            });
            self.set(place, repeat);
        }
    }
}
