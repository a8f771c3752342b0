import { ConversationStore } from "../lib/conversations";

export const store = new ConversationStore();
