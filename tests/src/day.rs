//! A day in the life of a few accounts: what they do, a model of who must see what, and whether
//! that is what they and the store saw.

mod cast;
mod model;
mod old;
mod op;
mod scene;
mod verdict;
mod view;

pub use cast::Cast;
pub use op::{Act, Deed, Fetch, Op, Which, day};
