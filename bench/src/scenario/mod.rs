//! What can be measured: each scenario with its flags.

pub(crate) mod churn;
pub(crate) mod group;
pub(crate) mod idle;
pub(crate) mod limit;
pub(crate) mod load;
pub(crate) mod login;
pub(crate) mod overload;
pub(crate) mod promote;
pub(crate) mod storm;
pub(crate) mod talk;
pub(crate) mod target;
