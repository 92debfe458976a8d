//! Exception groups: trees drawn with margins.

use super::{Level, MAX_CHILDREN, MAX_DEPTH, Reader, State, Step, connector, opening};

impl Reader {
    /// A line of an exception group: the margin says whose it is.
    pub(super) fn grouped(&mut self, line: &str) -> Step {
        let lead = line.len() - line.trim_start_matches(' ').len();
        let text = &line[lead..];
        if let Some(rest) = text.strip_prefix("+-+-") {
            if is_rule(rest) {
                self.open_child(lead + 2);
                return Step::Taken;
            }
        } else if let Some(rest) = text.strip_prefix("+--") {
            if rest.bytes().all(|byte| byte == b'-') {
                self.close_until(lead.saturating_sub(1));
                self.state = State::After;
                return Step::Taken;
            }
            if is_rule(rest) {
                self.close_until(lead.saturating_sub(1));
                self.open_child(lead);
                return Step::Taken;
            }
        } else if let Some(rest) = text.strip_prefix('|') {
            self.close_until(lead);
            let rest = rest.strip_prefix(' ').unwrap_or(rest);
            if self.state == State::After
                && opening(rest).is_some()
                && let Some(level) = self.level()
            {
                level.open(None);
                self.state = State::Frames;
                return Step::Taken;
            }
            // In a group's margin nothing is foreign.
            let _ = self.plain(rest);
            return Step::Taken;
        } else if let Some(rest) = text.strip_prefix("+ ") {
            if opening(rest).is_some()
                && let Some(level) = self.level()
            {
                level.open(None);
                self.state = State::Frames;
                return Step::Taken;
            }
        } else if text.is_empty() && self.state != State::Frames {
            return self.plain(text);
        }
        if connector(line).is_some() {
            return self.plain(line.trim());
        }
        if self.state == State::Linked
            && let Some(opening) = opening(line)
        {
            self.style = opening.style;
            self.indent = opening.indent;
            if let Some(level) = self.level() {
                level.open(None);
            }
            self.state = State::Frames;
            return Step::Taken;
        }
        Step::Over
    }

    fn open_child(&mut self, margin: usize) {
        if self.levels.len() < MAX_DEPTH {
            let mut level = Level {
                margin,
                ..Level::default()
            };
            // A leaf without frames has no header either.
            level.open(None);
            self.levels.push(level);
        }
        self.state = State::Frames;
        self.blanks = 0;
    }

    /// Closes the levels whose margin is right of `margin`.
    fn close_until(&mut self, margin: usize) {
        while self.levels.len() > 1
            && self
                .levels
                .last()
                .is_some_and(|level| level.margin > margin)
        {
            self.close_child();
        }
    }

    /// Ends the innermost member.
    pub(super) fn close_child(&mut self) {
        let child = self.levels.pop().and_then(Level::into_traceback);
        let parent = self
            .levels
            .last_mut()
            .and_then(|level| level.current.as_mut().or(level.done.last_mut()));
        if let (Some(child), Some(parent)) = (child, parent)
            && parent.children.len() < MAX_CHILDREN
        {
            parent.children.push(child);
        }
        self.state = State::After;
    }
}

/// `---------------- 2 ----------------`, what is left of it.
fn is_rule(text: &str) -> bool {
    text.starts_with('-')
        && text
            .bytes()
            .all(|byte| b"-. ".contains(&byte) || byte.is_ascii_digit())
}
