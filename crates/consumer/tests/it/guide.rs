//! The guide shows code that is compiled.

#[test]
fn the_code_of_the_guide_is_the_example_that_is_compiled() {
    let guide = include_str!("../../../../docs/guide-first-function.md");
    let example = include_str!("../../examples/first_function.rs");
    let shown = guide
        .split("```rust\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    let (_, compiled) = example.split_once("\n\n").unwrap();
    assert_eq!(shown, Some(compiled));
}
