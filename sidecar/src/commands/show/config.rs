//! Answers about the configuration as a person reads them.

use protocol::editor::{
    ConfigGetOutput, ConfigInitOutput, ConfigSchemaOutput, ConfigSetOutput, ConfigShowOutput, ConfigValidateOutput,
};

use super::text::{Text, count};

pub(in crate::commands) fn begun(output: &ConfigInitOutput, text: &mut Text) {
    text.line(&format!("Wrote `{}`: `{}` is `{}`.", output.file, output.key, output.value));
    text.line("Edit it, then run `mltoolbox-sidecar config validate`.");
}

pub(in crate::commands) fn shown(output: &ConfigShowOutput, text: &mut Text) {
    text.verbatim(&output.text);
}

pub(in crate::commands) fn checked(output: &ConfigValidateOutput, text: &mut Text) {
    for problem in &output.problems {
        text.verbatim(&format!("{}: {}", problem.place, problem.reason));
        // One line, so that what is to be typed can be copied.
        text.verbatim(&format!("  {}", problem.fix));
    }
    match output.problems.len() {
        0 if output.files.is_empty() => {
            text.line("There is no configuration file; the defaults hold. Run `mltoolbox-sidecar init` to begin one.");
        }
        0 => text.line(&format!("No problems in {}.", count(output.files.len() as u64, "file"))),
        problems => text.line(&format!("{}.", count(problems as u64, "problem"))),
    }
}

pub(in crate::commands) fn schema(output: &ConfigSchemaOutput, text: &mut Text) {
    text.verbatim(&serde_json::to_string_pretty(&output.schema).unwrap_or_default());
}

pub(in crate::commands) fn got(output: &ConfigGetOutput, text: &mut Text) {
    text.verbatim(&output.text);
}

pub(in crate::commands) fn set(output: &ConfigSetOutput, text: &mut Text) {
    text.line(&output.text);
}
