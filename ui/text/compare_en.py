"""The Compare tab's words in English."""

from __future__ import annotations

from ui.text.batch_en import BatchEnglish
from ui.text.export_en import ExportEnglish


class CompareEnglish(BatchEnglish, ExportEnglish):
    tab_compare = "Compare"
    pane = "Pane {n}"
    pane_hidden = "Model {letter}"
    pane_settings = "Settings of this pane"
    pane_more = "More for this pane"
    pane_grow = "Maximise (F)"
    pane_stop = "Stop"
    pane_left = "Move left"
    pane_right = "Move right"
    pane_again = "Run again here"
    pane_catch_up = "Ask this pane, too"
    pane_to_chat = "Continue in Chat"
    pane_remove = "Remove pane"
    pane_empty = "Its answer appears here."
    pane_joined = "Joined later: it was not asked before."
    pane_hidden_error = "This pane failed. Why is shown after the vote."
    add_pane = "Pane"
    compare_ask = "One prompt for all panes"
    compare_new = "New"
    compare_busy = "A pane is still answering: stop it first, or wait."
    compare_earlier = "Earlier"
    compare_earlier_empty = "Your comparisons appear here. Send a prompt to begin one."
    compare_delete_sure = "Delete this comparison for good? Its votes stay."
    compare_open = "Open"
    blind = "Blind"
    blind_hint = "Hides and shuffles the names until you vote"
    blind_locked = "Vote first: the settings would tell the names."
    vote = "Vote"
    vote_tie = "Tie"
    vote_bad = "All bad"
    vote_tag = "tag"
    vote_tag_hint = "Groups the results, as maths or vi"
    vote_thanks = "Voted {verdict}."
    vote_nothing = "Send a prompt to two panes or more, then vote."
    verdict_tie = "a tie"
    verdict_bad = "all bad"
    view_answers = "Answers"
    view_thinking = "Thinking"
    view_diff = "Diff"
    view_table = "Table"
    view_results = "Results"
    in_turn = "in turn"
    in_turn_note = "Panes {places} run on this machine one after the other: their times are marked “in turn”, and waiting for each other is not counted."
    settings_of = "Pane {n}"
    link = "Link parameters"
    link_hint = "what is set here is set in every pane"
    setups = "Set-ups"
    setup_name = "Set-up"
    setup_use = "Use"
    setup_save = "Save set-up"
    setup_delete = "Delete"
    setup_needs_name = "Give the set-up a name first."
    setup_checkpoints = "Instruct and Thinking"
    setup_temperatures = "This model at 0.2 and 1.0"
    setup_here = "The two models on this machine"
    done_settings = "Done"
    # table
    figures = {
        "state": "state",
        "ttft_s": "first token",
        "thinking_s": "thinking",
        "answer_s": "answer",
        "total_s": "total",
        "input_tokens": "input tokens",
        "thinking_tokens": "thinking tokens",
        "answer_tokens": "answer tokens",
        "tokens_per_s": "tokens/s",
        "guesses_right": "guesses right",
        "context_share": "context",
        "cost": "about",
        "seed": "seed",
        "words": "words",
    }
    table_figure = "figure"
    table_spread = "spread"
    table_best = "best"
    table_note = "The best of a row is marked ✓. Spread: the largest over the smallest. Unknown is a dash."
    table_empty = "Send a prompt: every figure of every pane stands here side by side."
    table_hidden = "Figures are shown after the vote: they would tell the names."
    # diff
    diff_empty = "Send a prompt to two panes: the words that differ are marked here."
    diff_of = "Compare"
    diff_with = "with"
    diff_answers = "Answers"
    diff_thinking = "Thinking"
    diff_same = "The two texts are the same."
    diff_share = "{share} % of the words are the same, in the same order."
    diff_none = "One of the two has no text yet."
    diff_cut = "Only the first {n} words of each are compared."
    diff_only = "Only in {name}"
    # results
    results_empty = "No votes yet. Compare two models and vote: win rates and ratings stand here."
    results_by_model = "by model"
    results_by_setting = "by model and settings"
    results_all_tags = "all tags"
    results_no_tag = "no tag"
    results_people = "Votes of people"
    results_judge = "Judged by {judge}"
    results_agreement = "Agreement with people: {share} % of {n} ({low} to {high} %), kappa {kappa}."
    results_name = "model"
    results_rating = "rating"
    results_won = "won"
    results_lost = "lost"
    results_tied = "tied"
    results_bad = "all bad"
    results_rate = "won of decided"
    results_pair = "pair"
    results_vote = "1 vote"
    results_votes = "{n} votes"
    results_note = "Win rate: of the pairs that were decided, with a Wilson interval of 95 %. Rating: Bradley–Terry on the scale of Elo, ties and “all bad” as half a win, one tie with 1000 assumed for each."
    results_csv = "Save CSV"
    results_jsonl = "Save JSON Lines"
    results_nothing_to_save = "There are no votes to save yet."
    results_nothing_hint = "Send a prompt to two panes and vote first."
    compare_running = "{done} of {all} done"
    compare_over = "all done"
    share = "Share"
    share_hint = "A page opens offline in any browser and holds no script. A run file opens here again and plays with its own timing."
    share_page = "Save page"
    share_run = "Save run file"
    share_open = "Open run file"
    share_hidden = "Vote first: the file would tell the names."
    share_empty = "There is nothing to save yet."
    share_empty_hint = "Send a prompt first."
    share_opened = "Played from a run file of {made_at}, with its own timing: no model runs."
    share_voted = "When it was saved, turn {turn} was voted: {verdict}."
    share_vote = "Voted: {verdict}."
    share_vote_pane = "pane {n} is the best"
    share_tagged = "Tag: {tag}."
    share_blind = "Names were hidden."
