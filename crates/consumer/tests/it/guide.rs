//! The guide shows code that is compiled, and a test that is run.

#[path = "../../examples/first_function.rs"]
#[expect(dead_code, reason = "an example: its main is not called here")]
mod first_function;

#[test]
fn the_code_of_the_guide_is_the_example_that_is_compiled() {
    let guide = include_str!("../../../../docs/guide-first-function.md");
    let example = include_str!("../../examples/first_function.rs");
    let blocks = guide.split("```rust ").skip(1).filter_map(|rest| rest.split_once('\n'));
    let shown: Vec<&str> = blocks.filter_map(|(_, code)| code.split("```").next()).collect();
    let (_, compiled) = example.split_once("\n\n").unwrap();
    assert_eq!(shown.join("\n"), compiled);
}
