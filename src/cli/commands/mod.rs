//! One file for each command.

pub mod attach;
pub mod attached;
pub mod bridge;
pub mod check_config;
pub mod cleanup;
pub mod create;
pub mod detach;
pub mod generate;
mod init;
pub mod mount;
pub mod pass_through;
pub mod restore;
pub mod run_as;
pub mod telemetry;
pub mod umount;
pub mod verify;
mod without_borg;
