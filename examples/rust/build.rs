// Hands the linker what `python -m rtrnn --libs` or `pkg-config --libs rtrnn` printed, from the environment.
fn main() {
    println!("cargo:rerun-if-env-changed=RTRNN_LIBS");
    let flags = std::env::var("RTRNN_LIBS").expect("set RTRNN_LIBS to the output of `python -m rtrnn --libs`");
    for flag in flags.split_whitespace() {
        if let Some(directory) = flag.strip_prefix("-L") {
            println!("cargo:rustc-link-search=native={directory}");
        } else if let Some(library) = flag.strip_prefix("-l") {
            println!("cargo:rustc-link-lib=dylib={library}");
        } else {
            println!("cargo:rustc-link-arg={flag}");
        }
    }
}
