use super::*;

fn image(entrypoint: &[&str], cmd: &[&str]) -> ImageConfig {
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
    ImageConfig { entrypoint: own(entrypoint), cmd: own(cmd), ..ImageConfig::default() }
}

fn run(command: &[&str], args: &[&str], image: &ImageConfig) -> Option<Vec<String>> {
    let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    command_line(&own(command), &own(args), image).ok()
}

#[test]
fn command_and_arguments_replace_those_of_the_image() {
    let both = image(&["e"], &["c"]);
    let words = |list: &[&str]| Some(list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
    assert_eq!(run(&[], &[], &both), words(&["e", "c"]));
    assert_eq!(run(&[], &["a"], &both), words(&["e", "a"]));
    assert_eq!(run(&["x"], &[], &both), words(&["x"]));
    assert_eq!(run(&["x"], &["a"], &both), words(&["x", "a"]));
    assert_eq!(run(&[], &[], &image(&[], &["c"])), words(&["c"]));
    assert_eq!(run(&[], &["a"], &image(&[], &["c"])), words(&["a"]));
    assert_eq!(run(&[], &[], &image(&[], &[])), None);
    assert_eq!(run(&["a\0b"], &[], &both), None);
}
