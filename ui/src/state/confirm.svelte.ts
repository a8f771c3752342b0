export interface Question {
  title: string;
  text: string;
  actions: { id: string; label: string; tone?: "primary" | "danger" }[];
}

export const question = $state<{ asked: Question | null }>({ asked: null });

let answer: (id: string | null) => void = () => {};

/** Ask; the id of the action that was chosen, null if none was. */
export function ask(asked: Question): Promise<string | null> {
  answer(null);
  question.asked = asked;
  return new Promise((resolve) => (answer = resolve));
}

export function answered(id: string | null): void {
  question.asked = null;
  answer(id);
}
