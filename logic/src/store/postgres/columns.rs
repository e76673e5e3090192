//! Messages as the columns of the statement that stores them.

use std::collections::HashMap;

use quick_cache::sync::Cache;

use super::{node::Node, rows::counted};
use crate::store::{
    NewMessage, Target,
    ids::{group_row, sides},
};

/// App and both sides of a direct conversation.
pub(super) type Pair = (String, String, String);

/// Row that no conversation has.
const NO_ROW: i64 = -1;

/// The conversations of messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Home {
    Direct(Pair),
    /// App and row of a group.
    Group(String, i64),
}

impl Home {
    pub(super) fn of(message: &NewMessage) -> Self {
        let app = message.app.to_string();
        match &message.target {
            Target::Account(receiver) => {
                let (a, b) = sides(&message.sender, receiver);
                Self::Direct((app, a.to_string(), b.to_string()))
            }
            Target::Group(group) => {
                let row = group_row(group).filter(|row| *row > 0);
                Self::Group(app, row.unwrap_or(NO_ROW))
            }
        }
    }
}

/// What the statement gets: each conversation once, and all messages.
#[derive(Default)]
pub(super) struct Columns<'a> {
    /// Indexes of conversations.
    places: HashMap<Home, usize>,
    /// 0: not known.
    pub(super) rows: Vec<i64>,
    pub(super) apps: Vec<Vec<u8>>,
    pub(super) ones: Vec<Vec<u8>>,
    pub(super) others: Vec<Vec<u8>>,
    pub(super) are_groups: Vec<bool>,
    pub(super) homes: Vec<i32>,
    pub(super) senders: Vec<&'a [u8]>,
    pub(super) are_open: Vec<bool>,
    pub(super) requests: Vec<&'a [u8]>,
    pub(super) kinds: Vec<i32>,
    pub(super) bodies: Vec<&'a [u8]>,
    pub(super) extras: Vec<&'a [u8]>,
    pub(super) ids: Vec<i64>,
    pub(super) send_times: Vec<i64>,
    pub(super) devices: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    /// Adds a message under a new id.
    pub(super) fn push(
        &mut self,
        message: &'a NewMessage,
        request: &'a [u8],
        node: &Node,
        known: &Cache<Pair, i64>,
    ) {
        let home = self.place(Home::of(message), known);
        let (id, send_time) = node.next_id();
        self.homes.push(counted(home));
        self.senders.push(message.sender.as_str().as_bytes());
        self.are_open.push(message.open_talk);
        self.requests.push(request);
        self.kinds.push(message.content.kind);
        self.bodies.push(message.content.body.as_bytes());
        self.extras.push(message.content.extra.as_bytes());
        self.ids.push(id);
        self.send_times.push(send_time);
        self.devices.push(message.device.as_bytes());
    }

    fn place(&mut self, home: Home, known: &Cache<Pair, i64>) -> usize {
        if let Some(place) = self.places.get(&home) {
            return *place;
        }
        let (app, one, other, row) = match &home {
            Home::Group(app, row) => (app, "", "", *row),
            Home::Direct(pair) => match known.get(pair) {
                Some(row) => (&pair.0, "", "", row),
                None => (&pair.0, &*pair.1, &*pair.2, 0),
            },
        };
        self.rows.push(row);
        self.apps.push(app.as_bytes().to_vec());
        self.ones.push(one.as_bytes().to_vec());
        self.others.push(other.as_bytes().to_vec());
        self.are_groups.push(matches!(home, Home::Group(..)));
        let place = self.places.len();
        self.places.insert(home, place);
        place
    }

    /// Returns the direct conversations whose rows were not known, by index.
    pub(super) fn unknown(self) -> HashMap<i32, Pair> {
        let rows = self.rows;
        let unknown = self.places.into_iter().filter_map(|(home, place)| match home {
            Home::Direct(pair) if rows.get(place) == Some(&0) => Some((counted(place), pair)),
            _ => None,
        });
        unknown.collect()
    }
}
