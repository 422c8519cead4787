"use strict";
// Every text of the page in English and Korean. Korean texts put no particle behind a value.
const TEXTS = {
  en: {
    compare: "With and without RAG", arm: "Arm", send: "Ask", stop: "Stop", question: "Ask a question",
    lead: "Ask your model, and see what it read.",
    hint: "Each question stands alone: the prompt is the experiment's, with the passage its search finds.",
    without: "Without RAG", with: "With RAG", sources: "Passages it read", score: "score",
    nothing: "No passage was near enough.", right: "Right", wrong: "Wrong", judge: "Is this answer right?",
    saved: "Saved", withdrawn: "Taken back", unsaved: "Could not be saved", cut: "Cut at its length limit.",
    key: "API key", keyNeeded: "This server asks for an API key.", failed: "No answer", stopped: "Stopped.",
    unreachable: "The server cannot be reached.", dark: "Dark", light: "Light", other: "한국어",
    searched: "A question of your own has no passage known to be right, so this arm reads what the search finds.",
  },
  ko: {
    compare: "RAG 유무 비교", arm: "조건", send: "질문", stop: "중단", question: "질문을 입력하세요",
    lead: "모델에게 묻고, 모델이 읽은 글까지 확인하세요.",
    hint: "질문은 하나씩 따로 처리됩니다. 프롬프트는 실험과 같고, 검색으로 찾은 글이 함께 들어갑니다.",
    without: "RAG 없이", with: "RAG 사용", sources: "모델이 읽은 글", score: "점수",
    nothing: "충분히 가까운 글을 찾지 못했습니다.", right: "맞음", wrong: "틀림", judge: "이 답이 맞나요?",
    saved: "저장했습니다", withdrawn: "취소했습니다", unsaved: "저장하지 못했습니다", cut: "길이 제한에서 잘린 답입니다.",
    key: "API 키", keyNeeded: "이 서버는 API 키가 필요합니다.", failed: "답을 받지 못했습니다", stopped: "중단했습니다.",
    unreachable: "서버에 연결할 수 없습니다.", dark: "어둡게", light: "밝게", other: "English",
    searched: "직접 쓴 질문에는 정해진 정답 글이 없어, 이 조건에는 검색으로 찾은 글을 넣습니다.",
  },
};
