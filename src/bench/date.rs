//! The date of a measurement, in the form in which results have it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Today in UTC: `2026-11-24`.
#[allow(clippy::disallowed_methods, reason = "a result is kept with its date")]
pub(super) fn today() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
    date(seconds / 86_400)
}

/// The day so many days after 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> String {
    let (mut year, mut left) = (1970_u64, days);
    let is_leap = |year: u64| year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
    while left >= 365 + u64::from(is_leap(year)) {
        left -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if left < length {
            break;
        }
        left -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", left + 1)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_become_dates() {
        let dates = [0, 58, 59, 11_016, 11_017, 20_781, 20_819].map(date);
        let expected =
            ["1970-01-01", "1970-02-28", "1970-03-01", "2000-02-29", "2000-03-01", "2026-11-24", "2027-01-01"];
        assert_eq!(dates, expected);
    }
}
