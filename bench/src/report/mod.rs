//! What is told of a run: tables, pages and files.

pub(crate) mod escape;
pub(crate) mod figure;
pub(crate) mod files;
pub(crate) mod html;
pub(crate) mod picture;
pub(crate) mod run;
