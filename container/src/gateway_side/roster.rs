//! A gateway's sessions as links tell them, encoded once and side by side: telling a new logic
//! server of all of them is little more than sending the bytes.

use bytes::Bytes;
use foldhash::HashMap;
use imago_proto::{EncodedSessions, SessionBatch, SessionId, link::Session};
use parking_lot::{Mutex, MutexGuard};

/// All sessions of a gateway.
#[derive(Debug)]
pub(crate) struct Roster {
    pages: Mutex<Pages>,
}

/// How far a sync has come.
#[derive(Debug)]
pub(crate) struct Position {
    page: usize,
    /// Pages when it began. Sessions on later ones are new: they are told beside it.
    pages: usize,
    /// About how many are to be told, of those that lived when it began.
    left: usize,
}

#[derive(Debug, Default)]
struct Pages {
    all: Vec<Page>,
    places: HashMap<SessionId, Place>,
    /// What is on the last page so far.
    open: SessionBatch,
    /// Pages with nobody on them.
    vacant: Vec<usize>,
    /// The page that new sessions come to.
    last: Option<usize>,
}

/// Where a session is.
#[derive(Clone, Copy, Debug)]
struct Place {
    page: usize,
    slot: usize,
}

/// Sessions that were begun one after the other. A full one is sent as it is, without a copy.
#[derive(Debug, Default)]
struct Page {
    /// Empty while the page is open.
    bytes: Bytes,
    slots: Vec<Slot>,
    living: usize,
    /// Bytes of sessions that have ended.
    dead: usize,
}

#[derive(Debug)]
struct Slot {
    id: SessionId,
    /// Where it ends on its page.
    end: usize,
    lives: bool,
}

// === impl Roster ===

impl Roster {
    /// For the gateway with this service id.
    pub(crate) fn new(gateway: &str) -> Self {
        let pages = Pages { open: SessionBatch::new(gateway), ..Pages::default() };
        Self { pages: Mutex::new(pages) }
    }

    /// A panic while it was locked leaves at worst a session that is told without need.
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock()
    }

    /// A session lives. One of the same number takes its place.
    pub(crate) fn add(&self, session: &Session) {
        let mut pages = self.lock();
        pages.remove(SessionId(session.id));
        pages.add(session);
    }

    /// A session has ended.
    pub(crate) fn remove(&self, id: SessionId) {
        self.lock().remove(id);
    }

    /// How many live.
    pub(crate) fn len(&self) -> usize {
        self.lock().places.len()
    }

    /// The begin of a sync.
    pub(crate) fn begin(&self) -> Position {
        let pages = self.lock();
        Position { page: 0, pages: pages.all.len(), left: pages.places.len() }
    }

    /// The next sessions to tell of, with about how many are left, with these. `None` when all that
    /// lived at the begin, and live, have been told.
    pub(crate) fn next(&self, position: &mut Position) -> Option<(EncodedSessions, usize)> {
        let some = self.lock().next(position)?;
        let left = position.left.max(some.sessions);
        position.left = left - some.sessions;
        Some((some, left))
    }
}

// === impl Pages ===

impl Pages {
    fn add(&mut self, session: &Session) {
        let index = self.last.unwrap_or_else(|| self.open());
        let Some(page) = self.all.get_mut(index) else { return };
        let id = SessionId(session.id);
        self.open.push(session);
        self.places.insert(id, Place { page: index, slot: page.slots.len() });
        page.slots.push(Slot { id, end: self.open.as_bytes().len(), lives: true });
        page.living += 1;
        if self.open.is_full() {
            self.close();
        }
    }

    /// An empty page for the next sessions.
    fn open(&mut self) -> usize {
        let index = self.vacant.pop().unwrap_or(self.all.len());
        if index == self.all.len() {
            self.all.push(Page::default());
        }
        self.last = Some(index);
        index
    }

    /// Nothing more comes to the last page.
    fn close(&mut self) {
        let Some(index) = self.last.take() else { return };
        let bytes = self.open.take().bytes;
        if let Some(page) = self.all.get_mut(index) {
            page.bytes = bytes;
            page.slots.shrink_to_fit();
        }
        self.tidy(index);
    }

    fn remove(&mut self, id: SessionId) {
        let Some(place) = self.places.remove(&id) else { return };
        let Some(page) = self.all.get_mut(place.page) else { return };
        page.end(place.slot);
        if self.last != Some(place.page) {
            self.tidy(place.page);
        } else if page.living == 0 {
            // Else logins and logouts by turns would fill it with the dead.
            *page = Page::default();
            drop(self.open.take());
        }
    }

    /// Frees a closed page's memory where half of it is for nobody.
    fn tidy(&mut self, index: usize) {
        let Some(page) = self.all.get_mut(index) else { return };
        if page.living == 0 {
            *page = Page::default();
            self.vacant.push(index);
        } else if page.dead * 2 > page.bytes.len() {
            page.compact();
            for (number, slot) in page.slots.iter().enumerate() {
                self.places.insert(slot.id, Place { page: index, slot: number });
            }
        }
    }

    fn next(&self, position: &mut Position) -> Option<EncodedSessions> {
        let mut some = SessionBatch::default();
        while position.page < position.pages && !some.is_full() {
            let page = self.all.get(position.page)?;
            if page.dead == 0 && page.bytes.len() > SessionBatch::FULL / 2 {
                if !some.is_empty() {
                    break;
                }
                position.page += 1;
                return Some(EncodedSessions { bytes: page.bytes.clone(), sessions: page.living });
            }
            let is_open = self.last == Some(position.page);
            let bytes = if is_open { self.open.as_bytes() } else { &page.bytes };
            page.living(bytes, |session| some.extend(session, 1));
            position.page += 1;
        }
        (!some.is_empty()).then(|| some.take())
    }
}

// === impl Page ===

impl Page {
    /// The session in this slot has ended.
    fn end(&mut self, slot: usize) {
        let start = slot.checked_sub(1).and_then(|before| self.slots.get(before));
        let start = start.map_or(0, |before| before.end);
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.lives = false;
            self.dead += slot.end - start;
            self.living -= 1;
        }
    }

    /// What is said of each that lives, of all `bytes` of the page.
    fn living(&self, bytes: &[u8], mut tell: impl FnMut(&[u8])) {
        let mut start = 0;
        for slot in &self.slots {
            if slot.lives {
                tell(bytes.get(start..slot.end).unwrap_or_default());
            }
            start = slot.end;
        }
    }

    /// Only who lives is left.
    fn compact(&mut self) {
        let mut bytes = Vec::with_capacity(self.bytes.len() - self.dead);
        self.living(&self.bytes, |session| bytes.extend_from_slice(session));
        let (mut start, mut end) = (0, 0);
        self.slots.retain_mut(|slot| {
            let len = slot.end - start;
            start = slot.end;
            if slot.lives {
                end += len;
                slot.end = end;
            }
            slot.lives
        });
        self.slots.shrink_to_fit();
        self.bytes = bytes.into();
        self.dead = 0;
    }
}

#[cfg(test)]
mod tests;
