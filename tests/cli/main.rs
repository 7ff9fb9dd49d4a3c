//! The program as a person meets it: the real binary, real borg, everything it prints.

#[path = "../common/mod.rs"]
mod common;

mod base;
mod check_config;
mod config;
mod flags;
mod foreign;
mod init;
mod pass_through;
mod places;
mod support;
mod without_borg;
