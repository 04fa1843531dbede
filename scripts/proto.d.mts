export const DESCRIPTORS: string;
export function compileProto(file: string): void;
