//! The `rejoin` program: coordinator, worker, demo, dev, and a client of the HTTP API.

mod args;
mod bench;
mod client;
mod completion;
mod dead_letter;
mod event;
mod exit;
mod fleet;
mod ids;
mod input;
mod output;
mod reference;
mod run;
mod schedule;
mod serve;
mod settings;
mod source;
mod token;
mod workflow;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;
use exit::Failure;

/// A fan-out makes and drops some ten small values a branch, on one thread or on two: with the system's allocator a fifth of the
/// time went into that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(carry_out(cli)),
        Err(e) => Err(Failure::general(format!("no runtime: {e}"))),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output::note(&format!("error: {failure}"));
            ExitCode::from(failure.code())
        }
    }
}

/// Carries the command out; the number is the exit code of one that worked (10 … 13 tell the state of a run).
async fn carry_out(cli: Cli) -> Result<u8, Failure> {
    match cli.command {
        Command::Coordinator(args) => serve::coordinator::run(args).await.map(|()| exit::OK),
        Command::Worker(args) => match args.command {
            Some(args::WorkerCommand::List(list)) => fleet::workers(&cli.global, &list).await,
            None => serve::worker::run(args).await.map(|()| exit::OK),
        },
        Command::Migrate(args) => serve::migrate::run(args).await,
        Command::Doctor(args) => serve::doctor::run(&cli.global, args).await,
        Command::Gc(args) => serve::gc::run(&cli.global, args).await,
        Command::Bench(args) => Box::pin(bench::run(&cli.global, args)).await,
        Command::Dev(args) => serve::dev::run(args).await.map(|()| exit::OK),
        Command::Demo => serve::demo::run().await,
        Command::Schema => workflow::schema(),
        Command::Completion { shell } => completion::print(shell),
        Command::HelpMarkdown => reference::print(),
        Command::Workflow(command) => workflow::run(&cli.global, command).await,
        Command::Run(command) => run::run(&cli.global, command).await,
        Command::Event(command) => event::run(&cli.global, command).await,
        Command::Input(command) => input::run(&cli.global, command).await,
        Command::Schedule(command) => schedule::run(&cli.global, command).await,
        Command::DeadLetter(command) => dead_letter::run(&cli.global, command).await,
        Command::Encryption(command) => serve::encryption::run(&cli.global, command).await,
        Command::Token(command) => token::run(&cli.global, command).await,
        Command::Queue(args::QueueCommand::List(list)) => fleet::queues(&cli.global, &list).await,
    }
}
