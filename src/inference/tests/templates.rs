//! Chat templates whose values or tags are nested without end, and those in
//! use that assign to namespaces.

use super::super::template::ChatTemplate;
use std::{fmt::Write, time::Instant};

fn chat(source: &str) -> Result<String, String> {
    ChatTemplate::new(source.to_owned(), "<s>".to_owned(), "</s>".to_owned())?
        .render(Some("Be short."), "Hi")
}

/// What is said of a template that can not be rendered, in one line.
fn refused(source: &str) -> String {
    let start = Instant::now();
    let shown: String = source.chars().take(100).collect();
    let error = chat(source)
        .err()
        .unwrap_or_else(|| panic!("{shown} was rendered"));
    assert!(start.elapsed().as_secs() < 20, "{shown} takes long");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn a_namespace_that_would_come_to_hold_itself_is_refused_with_one_sentence() {
    for knot in [
        "{% set ns.x = ns %}",
        "{% set ns.x = (ns,) %}",
        "{% set ns.x = ns, %}",
        "{%- set\n ns.x=[[{'a': [ns]}]]-%}",
        "{% set ns.x = {ns: 1} %}",
        "{% set ns.x = dict(a=ns) %}",
        "{% set ns.x = [1] + [ns] %}",
        "{% set ns.x = [ns] | map('default', 1) %}",
        "{% set ns.x = ([ns] | reverse) %}",
        "{% set ns.x = '%}' and ns %}",
        "{% set ns.x = ns if true else 1 %}",
        "{% set a, ns.x = 1, ns %}",
        "{% set (a, (ns.x, b)) = [1, [ns, 2]] %}",
        "{% set ns.x | default(ns, true) %}{% endset %}",
        "{% set ns.x | default([ns], true) %}{% endset %}",
        "{% set b = ns %}{% set ns.x = [b] %}",
        "{% set b = [ns] %}{% set ns.x = b %}",
        "{% for b in [ns] %}{% set ns.x = b %}{% endfor %}",
        "{% for b in [ns] %}{% for c in [1, 2] %}{% set b.x = b %}{% endfor %}{% endfor %}",
        "{% with b = ns %}{% set b.x = [b] %}{% endwith %}",
        "{% macro m(a, b) %}{% set a.x = b %}{% endmacro %}{{ m(ns, [ns]) }}",
        "{% macro m() %}{% set ns.x = kwargs %}{% endmacro %}{% set ns.x = namespace(y=ns) %}",
        "{% set a = namespace() %}{% set b = namespace() %}{% set a.x = b %}{% set b.x = a %}",
        "{% set a = namespace() %}{% set b = namespace(x=a) %}{% set a.x = [b] %}",
        "{% set a = namespace(b=namespace()) %}{% set a.b.x = a %}",
        "{% for b in [1, 2, ns] %}{% set ns.x = loop %}{% endfor %}",
        "{% for b in [1, 2, ns] %}{% set ns.x = [loop] %}{% endfor %}",
    ] {
        for look in ["{{ ns ~ '' }}", "{{ ns | tojson }}", "{{ ns == ns }}", ""] {
            let error = refused(&format!("{{% set ns = namespace(x='ab') %}}{knot}{look}"));
            assert!(
                error.contains("a namespace can not hold a namespace or a loop"),
                "{knot}: {error}"
            );
        }
    }
}

#[test]
fn values_are_nested_no_deeper_than_the_stack_bears() {
    let mut sources = Vec::new();
    for grown in ["[ns.x]", "{'a': ns.x}", "(ns.x,)", "dict(a=ns.x)"] {
        sources.push(format!(
            "{{% set ns = namespace(x=1) %}}{{% for i in range(90000) %}}{{% set ns.x = {grown} %}}{{% endfor %}}{{{{ ns }}}}"
        ));
    }
    sources.push(format!(
        "{{% set x = 1 %}}{}",
        "{% set x = [x] %}".repeat(999)
    ));
    sources.push("{% set x = namespace(x=x) %}".repeat(999));
    sources.push("{% set x | default([x], true) %}{% endset %}".repeat(999));
    for source in &sources {
        let error = refused(source);
        assert!(
            error.contains("values are nested more than 64 deep"),
            "{error}"
        );
    }
    // Other names and calls are bounded by the engine, and by what a tag has:
    // these go as deep as can be, on the two megabytes of a test.
    let nested = |value: &str, brackets: usize, filters: usize| {
        let (open, close) = ("[".repeat(brackets), "]".repeat(brackets));
        format!("{open}{value}{close}{}", "|batch(1)".repeat(filters))
    };
    for look in ["{{ x }}", "{{ x | tojson }}", "{{ x == y }}"] {
        for (brackets, filters) in [(30, 0), (30, 16), (0, 16)] {
            let (x, y) = (
                nested("x", brackets, filters),
                nested("y", brackets, filters),
            );
            let mut is_bounded = false;
            for depth in (10..200).step_by(10) {
                let calls = format!(
                    "{{% macro m(x, y, d) %}}{{% if d %}}{{{{ m({x}, {y}, d - 1) }}}}{{% else %}}{look}{{% endif %}}{{% endmacro %}}{{{{ m([1], [1], {depth}) }}}}"
                );
                let with = format!("{{% with x = {x}, y = {y} %}}").repeat(depth);
                let with = format!(
                    "{{% set x, y = [1], [1] %}}{with}{look}{}",
                    "{% endwith %}".repeat(depth)
                );
                let loops = format!("{{% for x in [{x}] %}}").repeat(depth);
                let loops = format!(
                    "{{% set y = 1 %}}{loops}{look}{}",
                    "{% endfor %}".repeat(depth)
                );
                let made = [chat(&calls), chat(&with), chat(&loops)];
                assert!(depth > 10 || made[0].is_ok(), "{made:?}");
                is_bounded = made.iter().all(Result::is_err);
            }
            assert!(is_bounded, "{look} {brackets} {filters}");
        }
    }
}

#[test]
fn tags_are_no_longer_than_the_stack_bears() {
    for link in [
        "-",
        "not ",
        ".a",
        "|e",
        "+x",
        "~x",
        "**x",
        "()",
        "[0]",
        " if x else x",
        " is e",
        " and x",
    ] {
        let starts = link.ends_with(' ') || link == "-";
        for links in [3900 / link.len(), 100_000 / link.len()] {
            let chain = link.repeat(links);
            let source = match starts {
                true => format!("{{{{ {chain}x }}}}"),
                false => format!("{{{{ x{chain} }}}}"),
            };
            if links > 4000 {
                refused(&source);
            } else {
                let _ = chat(&source);
            }
        }
    }
    for parens in [30, 100_000] {
        refused(&format!("{{% set {} = 1 %}}", "(".repeat(parens)));
        refused(&format!("{{% for {} in x %}}", "(".repeat(parens)));
    }
    let _ = chat(&format!(
        "{{% if x %}}{}{{% endif %}}",
        "{%elif x%}".repeat(13_000)
    ));
    refused(&"x".repeat(150_000));
    refused("{{ debug() }}");
}

/// As Qwen3's: the last question is looked for from the end.
const QWEN3: &str = "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == \"user\" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{{- ns.last_query_index }}";

/// As DeepSeek R1's, of one line.
const DEEPSEEK: &str = "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}{%- endfor -%}{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜>'}}{% endif %}";

/// As Llama 3's, with a set of texts and one over a block.
const LLAMA: &str = "{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = \"\" %}
{%- endif %}
{%- if not date_string is defined %}{%- set date_string = strftime_now(\"%d %b %Y\") %}{%- endif %}
{%- set head %}{{ '<|start_header_id|>' }}system{{ '<|end_header_id|>' }}{% endset %}
{{- head + date_string + '|' + system_message }}
{%- for message in messages %}{{- message.role + ':' + message['content'] | trim }}{%- endfor %}";

/// As those that count and collect.
const COLLECTING: &str = "{%- set image_count = namespace(value=0) %}{% set ns = namespace(index=0, roles=[], last=none) -%}
{%- for message in messages %}
{%- set image_count.value = image_count.value + 1 %}
{%- set ns.roles = ns.roles + [{'role': message.role, 'of': [message]}] %}
{%- set ns.index, ns.last = loop.index0, message %}
{%- endfor %}
{{- image_count.value ~ ns.roles|length ~ ns.roles[1].of[0].content ~ ns.index ~ ns.last.role }}
{%- macro count(counter) %}{% set counter.value = counter.value + 1 %}{{ counter.value }}{% endmacro %}
{{- count(image_count) }}
{%- set both = [ns, image_count] %}{{ both[1].value }}{% if ns is defined and ns %}!{% endif %}";

#[test]
fn templates_in_use_render_as_they_did() {
    for (source, expected) in [
        (
            QWEN3,
            "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n1",
        ),
        (DEEPSEEK, "<s>Be short.<｜User｜>Hi<｜Assistant｜>"),
        (
            LLAMA,
            "<s><|start_header_id|>system<|end_header_id|>26 Jul 2024|Be short.user:Hi",
        ),
        (COLLECTING, "22Hi1user33!"),
    ] {
        assert_eq!(chat(source).unwrap(), expected);
    }
    let mut long = String::new();
    for message in 0..500 {
        write!(long, "{{% set ns.x = ns.x + [{message}] %}}").unwrap();
    }
    let long = format!("{{% set ns = namespace(x=[]) %}}{long}{{{{ ns.x | length }}}}");
    assert_eq!(chat(&long).unwrap(), "500");
}

#[test]
fn lists_are_not_multiplied_and_paid_for_before_they_are_written() {
    for source in [
        "{{ messages * 3 }}",
        "{{ 50000000 * messages }}",
        "{% set x = 33.3*3 ~ -- 3333333 * messages %}",
        "{{ 3 * messages[0:] | list }}",
        "{{ (messages | list) * 2 * 3 }}",
        "{{ f(1 * -(messages)) }}",
        "{% if 'x' in [1, 2 * [3]] %}{% endif %}",
    ] {
        let error = refused(source);
        let is_told = ["lists can not be multiplied", "impossible", "unable to"]
            .iter()
            .any(|what| error.contains(what));
        assert!(
            is_told || error.contains("invalid operation"),
            "{source}: {error}"
        );
    }
    let wide = format!("[{}]", "x, ".repeat(1_000));
    for look in [format!("'' ~ {wide}"), format!("{wide} ~ ''"), wide.clone()] {
        for held in ["range(9999)", "'x' * 999999", "['x' * 99999] + [1]"] {
            let source = format!("{{% set x = {held} %}}{{{{ {look} }}}}");
            let error = refused(&source);
            assert!(error.contains("fuel"), "{source}: {error}");
        }
    }
    for (source, expected) in [
        ("{{ 'T' * 3 ~ 2 * 1.5e1 }}", "TTT30.0"),
        ("{{ 2 * 'ab' ~ [1, 'a'] }}", "abab[1, 'a']"),
        ("{{ 'a' ~ messages[1].content | upper ~ 'b' }}", "aHIb"),
        ("{% set n = 2 * -3 %}{{ n ~ '' }}", "-6"),
    ] {
        assert_eq!(chat(source).as_deref(), Ok(expected));
    }
}
