//! Tells cargo that the program holds a copy of `images/`: `include_dir!` reads it without saying so.

fn main() {
    println!("cargo::rerun-if-changed=images");
}
