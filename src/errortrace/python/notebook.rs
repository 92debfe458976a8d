//! Tracebacks as IPython and Rich draw them.

use super::{MAX_FOREIGN, Reader, Step};
use crate::errortrace::{exception, frame};

impl Reader {
    /// A line of IPython's traceback.
    pub(super) fn ipython(&mut self, line: &str) -> Step {
        if let Some(found) = frame::ipython(line).or_else(|| frame::python(line)) {
            self.foreign = 0;
            self.push_frame(found);
            return Step::Taken;
        }
        let trimmed = line.trim_start();
        if trimmed.starts_with("--")
            && let Some((_, after)) = trimmed.split_once("> ")
        {
            let digits = after.bytes().take_while(u8::is_ascii_digit).count();
            let number = after.get(..digits).and_then(|digits| digits.parse().ok());
            let code = after.get(digits..).unwrap_or_default().to_owned();
            if let Some(last) = self.last_frame() {
                last.line = last.line.or(number);
                if last.code.is_none() {
                    last.add_code(&code);
                }
            }
            return Step::Taken;
        }
        if line.starts_with(' ') || line.trim().is_empty() || line.starts_with("---") {
            return Step::Taken;
        }
        if let Some((name, message)) = exception::headline(line, self.has_frames()) {
            self.raise(name, message);
            return Step::Taken;
        }
        self.foreign += 1;
        if self.foreign > 2 * MAX_FOREIGN {
            Step::Over
        } else {
            Step::Taken
        }
    }

    /// A line of Rich's traceback, in its box.
    pub(super) fn rich(&mut self, line: &str) -> Step {
        let trimmed = line.trim();
        let Some(inner) = trimmed.strip_prefix('│') else {
            if trimmed.starts_with(['╭', '╰']) {
                return Step::Taken;
            }
            if let Some((name, message)) = exception::headline(trimmed, true) {
                self.raise(name, message);
                return Step::Taken;
            }
            self.foreign += 1;
            return if trimmed.is_empty() || self.foreign > MAX_FOREIGN {
                Step::Over
            } else {
                Step::Taken
            };
        };
        let inner = inner.strip_suffix('│').unwrap_or(inner).trim();
        if let Some(code) = inner.strip_prefix('❱') {
            let code = code
                .trim_start()
                .trim_start_matches(|byte: char| byte.is_ascii_digit());
            let code = code.trim_matches(['│', ' ']).to_owned();
            if let Some(last) = self.last_frame()
                && last.code.is_none()
            {
                last.add_code(&code);
            }
            return Step::Taken;
        }
        // A name that a line break has cut off its place.
        if let Some(last) = self.last_frame()
            && last.function.as_deref() == Some("")
        {
            last.function = Some(inner.to_owned());
            return Step::Taken;
        }
        let joined = self.wrapped.take().map(|start| start + inner);
        let found = frame::rich(inner)
            .filter(|found| {
                found.file.starts_with(['/', '~', '<', '.']) || found.file.contains(":\\")
            })
            .or_else(|| joined.as_deref().and_then(frame::rich));
        if let Some(found) = found {
            self.push_frame(found);
        } else if inner.starts_with('/') && !inner.contains(' ') {
            self.wrapped = Some(inner.to_owned());
        }
        Step::Taken
    }
}
