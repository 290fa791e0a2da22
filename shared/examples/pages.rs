//! Prints a page of `docs/` that is generated from code: `definition` or `configuration` (`scripts/docs` writes them).

fn main() {
    let page = match std::env::args().nth(1).as_deref() {
        Some("definition") => rejoin_shared::definition::reference(),
        Some("configuration") => rejoin_shared::config::reference(),
        _ => {
            eprintln!("usage: pages definition|configuration");
            std::process::exit(2);
        }
    };
    print!("{page}");
}
