//! Pages of `docs/` as HTML.

use pulldown_cmark::{CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, html::push_html};

use super::PAGES;

/// The page; headings can be linked to as on other renderers, and links to pages lead to where these are served.
pub fn html(text: &str) -> String {
    let mut events: Vec<Event<'_>> = Parser::new_ext(text, Options::ENABLE_TABLES).collect();
    let mut heading = None;
    for place in 0..events.len() {
        match &mut events[place] {
            Event::Start(Tag::Heading { .. }) => heading = Some((place, String::new())),
            Event::End(TagEnd::Heading(_)) => {
                if let Some((start, words)) = heading.take() {
                    name(&mut events[start], &words);
                }
            }
            Event::Text(words) | Event::Code(words) => {
                if let Some((_, all)) = &mut heading {
                    all.push_str(words);
                }
            }
            Event::Start(Tag::Link {
                link_type: LinkType::Inline,
                dest_url,
                ..
            }) => {
                if let Some(target) = served(dest_url) {
                    *dest_url = target.into();
                }
            }
            Event::Start(_)
            | Event::End(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::Html(_)
            | Event::InlineHtml(_)
            | Event::FootnoteReference(_)
            | Event::SoftBreak
            | Event::HardBreak
            | Event::Rule
            | Event::TaskListMarker(_) => {}
        }
    }
    let mut page = String::new();
    push_html(&mut page, events.into_iter());
    page
}

fn name(event: &mut Event<'_>, words: &str) {
    if let Event::Start(Tag::Heading { id, .. }) = event {
        *id = Some(CowStr::from(anchor(words)));
    }
}

/// `Dead letters` is `dead-letters`.
fn anchor(words: &str) -> String {
    let kept = words
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() })
        .collect()
}

/// `errors.md#gone` is at `/docs/errors#gone`.
fn served(link: &str) -> Option<String> {
    let (file, place) = link.split_once('#').unwrap_or((link, ""));
    let page = file.strip_suffix(".md")?;
    let is_page = PAGES.iter().any(|(name, _)| *name == page);
    let place = if place.is_empty() {
        String::new()
    } else {
        format!("#{place}")
    };
    is_page.then(|| format!("/docs/{page}{place}"))
}
