//! The usual form of RFC 3339 text, `2026-01-31T12:00:00.05Z`: each completion carries two of these, and a general reader and
//! writer of times took longer over them than over the rest of it.
//!
//! Days are counted as in Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2021): years begin in March, so that the
//! leap day is the last one, and repeat after 400.

/// Bytes of the longest text: `2026-01-31T12:00:00.123456Z`.
pub(super) const TEXT_MAX: usize = 27;

const MICROS_PER_DAY: i64 = 86_400_000_000;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: i64 = 719_468;
const DAYS_PER_ERA: i64 = 146_097;

/// Microseconds since 1970; `None` for what is not of the usual form, right or wrong.
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    let [head @ .., b'Z'] = text else { return None };
    let (head, fraction) = match head.get(19) {
        None => (head, 0),
        Some(b'.') => (&head[..19], micros_of(&head[20..])?),
        Some(_) => return None,
    };
    if head.len() != 19 || [head[4], head[7], head[10], head[13], head[16]] != *b"--T::" {
        return None;
    }
    let (year, month, day) = (number(&head[..4])?, number(&head[5..7])?, number(&head[8..10])?);
    let (hour, minute, second) = (number(&head[11..13])?, number(&head[14..16])?, number(&head[17..])?);
    let is_time = hour < 24 && minute < 60 && second < 60;
    if !is_time || !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let seconds = hour * 3600 + minute * 60 + second;
    Some(days_since_epoch(year, month, day) * MICROS_PER_DAY + seconds * 1_000_000 + fraction)
}

/// Writes the text; `None` before 1970 and after 9999.
pub(super) fn write(micros: i64, text: &mut [u8; TEXT_MAX]) -> Option<&str> {
    let (days, rest) = (micros / MICROS_PER_DAY, micros % MICROS_PER_DAY);
    let (year, month, day) = date_of(days);
    if micros < 0 || year > 9999 {
        return None;
    }
    let seconds = rest / 1_000_000;
    text[..20].copy_from_slice(b"0000-00-00T00:00:00.");
    digits(&mut text[..4], year);
    digits(&mut text[5..7], month);
    digits(&mut text[8..10], day);
    digits(&mut text[11..13], seconds / 3600);
    digits(&mut text[14..16], seconds / 60 % 60);
    digits(&mut text[17..19], seconds % 60);
    digits(&mut text[20..26], rest % 1_000_000);
    let zeros = text[20..26].iter().rev().take_while(|digit| **digit == b'0').count();
    // Without a fraction there is no point either.
    let end = if zeros == 6 { 19 } else { 26 - zeros };
    text[end] = b'Z';
    std::str::from_utf8(&text[..=end]).ok()
}

fn number(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        Some(number * 10 + digit)
    })
}

/// Of the digits behind the point, at most six.
fn micros_of(fraction: &[u8]) -> Option<i64> {
    let missing = 6_usize.checked_sub(fraction.len())?;
    let fraction = number(fraction).filter(|_| !fraction.is_empty())?;
    Some(fraction * 10_i64.pow(u32::try_from(missing).ok()?))
}

fn digits(text: &mut [u8], number: i64) {
    let mut rest = number;
    for digit in text.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * DAYS_PER_ERA + day_of_era - DAYS_TO_EPOCH
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}
