//! Runs a command with a relay between it and the local AWS, which injects faults.

use std::net::SocketAddr;
use std::process::{Command, ExitCode};
use std::time::Duration;

use clap::Parser;
use tests::{Call, Faults, Moment, Relay};

/// Runs a command with AWS behind a relay that injects faults, and prints how many calls reached
/// AWS. The exit code is the command's.
///
/// Example: fault-relay --seed 7 --throttled 0.3 --broken 0.1 --cut 0.05 -- scripts/deploy <
/// examples/shop/shop.json
#[derive(Parser)]
#[command(version)]
struct Args {
    /// URL of the AWS behind the relay
    #[arg(long, value_name = "URL", env = "AWS_ENDPOINT_URL")]
    upstream: String,
    /// Address to listen at
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Seed: the same seed gives the same faults for the same calls in the same order
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Share of calls that are throttled, with each service's own error code
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    throttled: f64,
    /// Share of calls that fail with 500 or 503
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    broken: f64,
    /// Share of calls whose connection is cut, half of them after AWS has acted
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    cut: f64,
    /// Deny every call
    #[arg(long)]
    denied: bool,
    /// Delay of every call, as in 100ms
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "0s")]
    delay: Duration,
    /// For how long a new resource is not visible to other calls
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "0s")]
    hidden: Duration,
    /// For how long a new role can't be used
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "0s")]
    unusable: Duration,
    /// For how long NAT gateways, load balancers and capacity providers are pending
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "0s")]
    pending: Duration,
    /// Kill the calling process at its N-th changing call, before AWS receives the call
    #[arg(long, value_name = "N", conflicts_with = "kill_after")]
    kill_before: Option<usize>,
    /// Kill the calling process at its N-th changing call, after AWS has acted
    #[arg(long, value_name = "N")]
    kill_after: Option<usize>,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Args {
    fn faults(&self) -> Faults {
        let before = self.kill_before.map(|n| (n, Moment::Before));
        Faults {
            seed: self.seed,
            denied: self.denied,
            throttled: self.throttled,
            broken: self.broken,
            cut: self.cut,
            delay: self.delay,
            hidden: self.hidden,
            unusable: self.unusable,
            pending: self.pending,
            kill: before.or(self.kill_after.map(|n| (n, Moment::After))),
            nonsense: None,
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let relay = Relay::to(&args.upstream, args.listen);
    relay.fail(args.faults());
    let done = Command::new(&args.command[0]).args(&args.command[1..]).env("AWS_ENDPOINT_URL", &relay.endpoint).status();
    let calls = relay.calls();
    let changing = calls.iter().filter(|call| Call::mutates(call)).count();
    eprintln!("fault-relay: {} calls reached AWS, {changing} of them changing", calls.len());
    match done {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("fault-relay: could not run {}: {error}", args.command[0]);
            ExitCode::from(127)
        }
    }
}
