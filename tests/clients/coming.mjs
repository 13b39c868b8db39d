// What these clients ask for and the server does not do yet, with the reason why the tests of it are
// skipped. Whoever adds it takes its row away, and the tests run.
export const coming = {
  chat: "POST /v1/chat/completions does not exist yet",
};
