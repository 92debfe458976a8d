/// The name that a tensor has in GGUF files, by the name that the loader
/// knows it by (`model.layers.0.self_attn.q_proj.weight`). `post_norms`: the
/// model has norms after attention and feed-forward too, which moves names.
pub fn gguf_name(name: &str, post_norms: bool) -> String {
    let top = |name: &str| match name {
        "model.embed_tokens.weight" => Some("token_embd.weight"),
        "model.norm.weight" => Some("output_norm.weight"),
        "lm_head.weight" => Some("output.weight"),
        _ => None,
    };
    if let Some(name) = top(name) {
        return name.to_owned();
    }
    let Some((layer, rest)) = name
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.split_once('.'))
    else {
        return name.to_owned();
    };
    let Some((part, end)) = rest.rsplit_once('.') else {
        return name.to_owned();
    };
    let part = match part {
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.qkv_proj" => "attn_qkv",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" | "mlp.gate_up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" if post_norms => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        other => other,
    };
    format!("blk.{layer}.{part}.{end}")
}

/// Whether llama.cpp's rope rotates neighbouring values in this architecture,
/// so that the rows of queries and keys are stored in another order.
pub fn is_interleaved(architecture: &str) -> bool {
    matches!(architecture, "llama" | "granite" | "smollm3")
}

/// The row of an interleaved tensor that is row `row` of ours.
///
/// llama.cpp's converters store the two halves of a head in turns.
pub const fn interleaved_row(row: usize, head_dim: usize) -> usize {
    let (head, within) = (row / head_dim, row % head_dim);
    let half = head_dim / 2;
    head * head_dim + 2 * (within % half) + within / half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_head_come_back_into_halves() {
        let rows: Vec<usize> = (0..12).map(|row| interleaved_row(row, 6)).collect();
        assert_eq!(rows, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
    }

    #[test]
    fn names_follow_the_norms_of_the_model() {
        let name = "model.layers.3.post_attention_layernorm.weight";
        assert_eq!(gguf_name(name, false), "blk.3.ffn_norm.weight");
        assert_eq!(gguf_name(name, true), "blk.3.post_attention_norm.weight");
        assert_eq!(
            gguf_name("model.layers.11.self_attn.q_proj.bias", false),
            "blk.11.attn_q.bias"
        );
        assert_eq!(gguf_name("lm_head.weight", true), "output.weight");
    }
}
