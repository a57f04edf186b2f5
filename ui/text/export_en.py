"""The words of a comparison that is saved as a file, in English."""

from __future__ import annotations


class ExportEnglish:
    file_title = "Answers side by side"
    file_title_of = "{prompt} – {product}"
    file_made = "Saved {when} with {versions}."
    file_settings = "Settings"
    file_setting = "setting"
    file_yes = "yes"
    file_no = "no"
    file_texts_left_out = "{values} (texts are left out)"
    file_prompt = "Prompt"
    file_prompt_of = "Prompt {n} of {all}"
    file_not_asked = "This pane was not asked."
    file_nothing = "Nothing was written."
    file_stopped = "Stopped here. What had arrived is kept."
    file_streaming = "This was still being written when the file was saved."
    file_other_settings = "Answered with other settings: {settings}."
    file_setting_was = "{name} {value}"
    file_figures = "Figures"
    file_difference = "Word by word: {left} and {right}"
