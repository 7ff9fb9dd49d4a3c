//! The program as a person meets it: the real binary, real borg, everything it prints.
// A test starts the program under test and the programs around it as a shell would.
#![allow(clippy::disallowed_methods)]

mod base;
mod check_config;
mod config;
mod flags;
mod foreign;
mod init;
mod pass_through;
mod places;
mod support;
