//! The words of a command, and whether what comes next would be parsed as a program. Knows no quotes.

/// Programs that read an argument as a program when an option such as `-c` or `-e` says so.
const READERS: &[&str] = &[
    "sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "su", "python", "python2", "python3", "perl", "ruby", "node",
    "php",
];
/// Their options of that kind that have a long name.
const READING: &[&str] = &["--command", "--session-command", "--init-command", "--eval", "--print", "--run"];
/// Words behind which a command begins.
const BEFORE_COMMANDS: &[&str] =
    &["if", "then", "elif", "else", "while", "until", "do", "!", "{", "time", "command", "builtin"];
/// Programs that run the program which their arguments name.
const WRAPPERS: &[&str] = &["sudo", "doas", "env", "exec", "nice", "nohup", "setsid", "timeout"];
/// Options of `ssh` whose value is the next word.
const SSH_VALUES: &[char] =
    &['B', 'b', 'c', 'D', 'E', 'e', 'F', 'I', 'i', 'J', 'L', 'l', 'm', 'O', 'o', 'P', 'p', 'Q', 'R', 'S', 'W', 'w'];

/// The words of the simple command that is being read.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Those that have ended.
    pub(super) ended: Vec<String>,
    /// The one that has begun, quotes left out.
    pub(super) current: String,
    /// Whether one has begun; it may still be empty.
    pub(super) begun: bool,
    /// Whether the next word is where a redirection goes to.
    pub(super) redirected: bool,
    /// Parentheses that are open.
    pub(super) open: usize,
}

impl Words {
    /// Ends the word that has begun; where a redirection goes to is none of the command's.
    pub(super) fn end(&mut self) {
        if !self.begun {
            return;
        }
        let word = std::mem::take(&mut self.current);
        if !std::mem::take(&mut self.redirected) {
            self.ended.push(word);
        }
        self.begun = false;
    }

    /// Returns the program that reads the present word as a program, if one does.
    pub(super) fn reader(&self) -> Option<String> {
        self.shell_itself().or_else(|| self.by_option()).or_else(|| self.by_position())
    }

    /// Returns the word at which the command begins, behind keywords and assignments.
    fn begin(&self) -> usize {
        let mut last = "";
        let mut words = self.ended.iter();
        let begin = words.position(|word| {
            let is_option = BEFORE_COMMANDS.contains(&last) && word.starts_with('-');
            let passes = BEFORE_COMMANDS.contains(&word.as_str());
            if passes {
                last = word;
            }
            !(passes || is_option || is_assignment(word))
        });
        begin.unwrap_or(self.ended.len())
    }

    /// What the shell's own commands parse again.
    fn shell_itself(&self) -> Option<String> {
        let words = self.ended.get(self.begin()..)?;
        match words {
            [first, ..] if first == "eval" || first == "trap" => Some(first.clone()),
            // What follows the file are its arguments.
            [first] if first == "." || first == "source" => Some(first.clone()),
            _ => None,
        }
    }

    /// What `sh -c` and the like read.
    fn by_option(&self) -> Option<String> {
        let at = self.ended.iter().rposition(|word| READERS.contains(&program(word)))?;
        let reader = &self.ended[at];
        let mut words = self.ended[at + 1..].iter().rev().peekable();
        // Other options may stand between: `sh -c -o pipefail -- TEXT`.
        while let Some(word) = words.next() {
            if reads(word) {
                return Some(format!("{reader} {word}"));
            }
            let has_value = words.peek().is_some_and(|before| ["-o", "+o", "-O", "+O"].contains(&before.as_str()));
            if !(word.starts_with(['-', '+']) || has_value) {
                break;
            }
        }
        let attached = attached(&self.current)?;
        Some(format!("{reader} {attached}"))
    }

    /// What programs read that give all their arguments to a shell.
    fn by_position(&self) -> Option<String> {
        let begin = self.begin();
        if let Some(at) = self.ended.iter().position(|word| program(word) == "watch") {
            let is_command = at == begin || at > 0 && WRAPPERS.contains(&program(&self.ended[at - 1]));
            return is_command.then(|| self.ended[at].clone());
        }
        let at = self.ended.iter().position(|word| program(word) == "ssh")?;
        // `rsync -e ssh` gives it no command.
        if at > 0 && ["-e", "--rsh"].contains(&self.ended[at - 1].as_str()) {
            return None;
        }
        let mut words = self.ended[at + 1..].iter();
        while let Some(word) = words.next() {
            if word == "--" {
                continue;
            }
            if !word.starts_with('-') {
                // The host; what follows is read by a shell there.
                return Some(self.ended[at].clone());
            }
            if word.ends_with(SSH_VALUES) && words.next().is_none() {
                // `-o ProxyCommand=…` is read by a shell here.
                let is_command = self.current.to_ascii_lowercase().contains("command");
                return is_command.then(|| self.ended[at].clone());
            }
        }
        None
    }
}

/// Returns the name of the program that a word calls.
fn program(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or_default()
}

fn is_assignment(word: &str) -> bool {
    let is_name =
        |name: &str| !name.is_empty() && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_');
    word.split_once('=').is_some_and(|(name, _)| is_name(name.strip_suffix('+').unwrap_or(name)))
}

/// Returns whether the word behind this option is a program.
fn reads(option: &str) -> bool {
    if READING.contains(&option) {
        return true;
    }
    let Some(letters) = option.strip_prefix('-') else { return false };
    letters.ends_with(['c', 'e', 'E', 'r']) && letters.chars().all(|letter| letter.is_ascii_alphanumeric())
}

/// Returns the option to which a program is attached: `-e` of `-eTEXT`, `--eval` of `--eval=TEXT`.
fn attached(word: &str) -> Option<String> {
    let long = READING.iter().find(|long| word.strip_prefix(**long).is_some_and(|rest| rest.starts_with('=')));
    if let Some(long) = long {
        return Some((*long).to_owned());
    }
    let letter = word.strip_prefix('-')?.trim_start_matches(['n', 'p', 'l', 'a', 'w', '0']).chars().next()?;
    matches!(letter, 'c' | 'e' | 'E' | 'r').then(|| format!("-{letter}"))
}
