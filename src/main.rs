use std::process::ExitCode;

fn main() -> ExitCode {
    borg_offsite_backup::cli::run(std::env::args_os())
}
