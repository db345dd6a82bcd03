//! `plummer`: only dispatches.

fn main() -> std::process::ExitCode {
    plummer::app::main()
}
