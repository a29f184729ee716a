//! Steps a network over a file of float32 observations and prints the bits of its actions.
mod rtrnn;

use std::io::Write;

fn run(model: &str, observations: &str) -> Result<(), String> {
    let plan = rtrnn::Plan::load(model)?;
    let mut stream = rtrnn::Stream::new(&plan)?;
    let bytes = std::fs::read(observations).map_err(|error| format!("{observations}: {error}"))?;
    let values: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let mut y = vec![0.0f32; plan.output_size()];
    let mut out = std::io::stdout().lock();
    for x in values.chunks_exact(plan.input_size()) {
        stream.step(x, &mut y)?;
        let line: Vec<String> = y.iter().map(|value| format!("{:08x}", value.to_bits())).collect();
        writeln!(out, "{}", line.join(" ")).map_err(|error| error.to_string())?;
        stream.prepare(); // in the idle time of a control loop
    }
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.len() != 3 {
        eprintln!("usage: {} policy.rtrnn observations.f32", arguments[0]);
        std::process::exit(2);
    }
    if let Err(message) = run(&arguments[1], &arguments[2]) {
        eprintln!("{message}");
        std::process::exit(1);
    }
}
