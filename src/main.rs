//! The `plummer` command; see `plummer::app`.

fn main() -> std::process::ExitCode {
    plummer::app::main()
}
