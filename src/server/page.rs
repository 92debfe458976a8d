use super::problem::Problem;
use serde::Serialize;
use utoipa::ToSchema;

/// Items of a page, unless asked for otherwise, and at most.
const DEFAULT: usize = 50;
const MOST: usize = 500;

/// The last page that can be asked for.
const LAST: usize = 1_000_000;

/// Which part of a list.
#[derive(Debug, Clone, Copy)]
pub struct Paging {
    page: usize,
    per_page: usize,
}

/// A part of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub page: usize,
    pub per_page: usize,
    /// Items on all pages.
    pub total: usize,
}

impl Paging {
    /// Pages are counted from 1.
    pub fn new(page: Option<usize>, per_page: Option<usize>) -> Self {
        Self {
            page: page.unwrap_or(1),
            per_page: per_page.unwrap_or(DEFAULT),
        }
    }

    pub fn of<T>(self, all: impl ExactSizeIterator<Item = T>) -> Result<Page<T>, Problem> {
        let Self { page, per_page } = self;
        if page == 0 || page > LAST || per_page == 0 || per_page > MOST {
            return Err(Problem::bad_request(format!(
                "page is from 1 to {LAST}, per_page from 1 to {MOST}"
            )));
        }
        let total = all.len();
        let items = all
            .skip((page - 1).saturating_mul(per_page))
            .take(per_page)
            .collect();
        Ok(Page {
            items,
            page,
            per_page,
            total,
        })
    }
}

impl<T> Page<T> {
    /// The same page of other things.
    pub fn map<U>(self, of: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(of).collect(),
            page: self.page,
            per_page: self.per_page,
            total: self.total,
        }
    }
}
