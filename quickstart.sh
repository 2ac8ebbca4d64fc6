#!/usr/bin/env bash
# The main job on real text, from nothing to a model that others load; about 6 minutes on two cores after downloads.
#
#   bash quickstart.sh [FOLDER]     FOLDER (default: quickstart_output) gets everything; run again: only what is missing is done
#
# Reviews -> vocabulary -> dataset -> pre-training of a Tiny RoBERTa under DeepSpeed ZeRO-2 on two processes, interrupted
# half-way on purpose and resumed -> Hugging Face folder -> fine-tuned to find names in newspaper text, beside the same
# model from scratch -> fill in the blanks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. ./environment.sh
setup_environment demo,hf,finetune

out="${1:-quickstart_output}"
processes=2
gpus=$(python -c 'import torch; print(torch.cuda.device_count())')
if [ "$gpus" = 1 ]; then processes=1; fi
if [ "$gpus" = 0 ]; then export DS_ACCELERATOR=cpu; fi # else deepspeed looks for a GPU and says so each time
steps="${QUICKSTART_STEPS:-900}"

step() { printf '\n== %s\n' "$*"; }

pretrain() {
    deepspeed --log_level critical --num_accelerators "$processes" launch/pretrain.py --ds_config ds_configs/zero2.json \
        --dataset_path "$out/reviews" --eval_dataset_path "$out/held_out" --output_model_path "$out/run" \
        --config_path models/bert/tiny_config.json --data_processor mlm --target mlm --seq_length 128 \
        --batch_size 16 --total_steps "$steps" --learning_rate 2e-3 --warmup 0.05 --correct_bias --max_grad_norm 1.0 \
        --report_steps 50 --save_checkpoint_steps "$steps" --keep_checkpoints 2
}

last_update() { # the update of the last report, 0 before there is one
    sed -n '$s/.*"update": \([0-9]*\),.*/\1/p' "$out/run/metrics.jsonl" 2>/dev/null | grep . || echo 0
}

step "1/7 real reviews 真实评论"
[ -e "$out/text/ner/label2id.json" ] || uer-ds demo-data "$out/text"

step "2/7 vocabulary 词表"
[ -e "$out/vocab.txt" ] ||
    uer-ds vocab --corpus_path "$out/text/reviews.txt" --delimiter bert --min_count 3 --output_path "$out/vocab.txt"

step "3/7 indexed datasets 索引数据集"
for part in reviews held_out; do
    uer-ds preprocess --corpus_path "$out/text/$part.txt" --vocab_path "$out/vocab.txt" --dataset_path "$out/$part" \
        --processes_num 2 --data_processor mlm
done

if ! ls -d "$out"/run/checkpoint-* >/dev/null 2>&1; then
    step "4/7 pre-training, interrupted half-way on purpose 预训练，中途故意打断"
    rm -f "$out/run/metrics.jsonl" "$out/run/.lock" # of a run that was killed before its first checkpoint
    pretrain &
    launcher=$!
    trap 'kill "$launcher" 2>/dev/null || true' EXIT
    until [ -e "$out/run/.lock" ] && [ "$(last_update)" -ge $((steps / 2)) ]; do
        kill -0 "$launcher" 2>/dev/null || stop "pre-training ended before it was interrupted; its last words are above."
        sleep 0.5
    done
    read -r first_process _ <"$out/run/.lock" # rank 0; it tells the others
    kill -TERM "$first_process"
    wait "$launcher" || true
    trap - EXIT
fi
if [ ! -e "$out/run/checkpoint-$steps" ]; then
    step "4/7 the same command again resumes 同一条命令继续训练"
    pretrain
fi

step "5/7 export to Hugging Face 导出"
[ -e "$out/huggingface" ] || uer-ds convert "$out/run/checkpoint-$steps" "$out/huggingface" --to huggingface

step "6/7 fine-tuning on names in 4,000 newspaper sentences: from scratch, then from the pre-trained model 微调"
tag_names() { # FOLDER, options that say where it starts
    local names="$out/text/ner"
    [ -e "$out/$1/scores.json" ] ||
        uer-ds finetune ner --train_path "$names/few.tsv" --dev_path "$names/dev.tsv" --test_path "$names/test.tsv" \
            --label2id_path "$names/label2id.json" --output_model_path "$out/$1" --seq_length 128 --batch_size 32 \
            --epochs_num 3 --learning_rate 1e-3 --correct_bias --report_steps 125 "${@:2}"
}
tag_names from_scratch --config_path "$out/run/checkpoint-$steps/config.json" --vocab_path "$out/vocab.txt"
tag_names names --pretrained_model_path "$out/run/checkpoint-$steps"

step "7/7 fill in the blanks 完形填空"
uer-ds demo-report "$out"
