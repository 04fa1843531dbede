import tseslint from 'typescript-eslint';

/** Which layer may import which: only those to its left, and its own. Those that share a place may know each other. See docs/ARCHITECTURE.md. */
const LAYERS = [
  ['common'],
  ['config'],
  ['engine', 'coordination', 'api'],
  ['storage'],
  ['delta'],
  ['tables'],
  ['data'],
  ['query'],
  ['cluster'],
  ['backups'],
  ['metadata'],
  ['auth'],
  ['metrics', 'health'],
];

const importRules = LAYERS.flatMap((place, index) =>
  place.map((layer) => ({
    files: [`src/${layer}/**/*.ts`],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: LAYERS.slice(index + 1)
            .flat()
            .map((later) => ({
              group: [`**/${later}/*`, `**/${later}/**`],
              message: `${layer} must not know ${later}`,
            })),
        },
      ],
    },
  })),
);

const UNTYPED_JSON = Object.fromEntries(
  ['argument', 'assignment', 'call', 'enum-comparison', 'member-access', 'return'].map((what) => [
    `@typescript-eslint/no-unsafe-${what}`,
    'off',
  ]),
);

export default tseslint.config(
  { ignores: ['dist', 'node_modules', 'data', '.cache', '**/fixtures'] },
  ...tseslint.configs.recommendedTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: { parserOptions: { project: './tsconfig.test.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-non-null-assertion': 'error',
      '@typescript-eslint/no-inferrable-types': 'off',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/dot-notation': 'off',
    },
  },
  {
    // Answers of the server are read as the JSON they are, and the type of each is not what these files are about.
    files: ['test/**/*.ts', '**/*.spec.ts', '**/*.contract.ts'],
    rules: {
      ...UNTYPED_JSON,
      '@typescript-eslint/consistent-type-definitions': 'off',
      '@typescript-eslint/no-base-to-string': 'off',
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/non-nullable-type-assertion-style': 'off',
      '@typescript-eslint/only-throw-error': 'off',
      '@typescript-eslint/prefer-nullish-coalescing': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/restrict-template-expressions': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    files: ['**/*.{js,mjs}'],
    rules: {
      ...tseslint.configs.disableTypeChecked.rules,
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-unused-expressions': 'off',
    },
  },
  ...importRules,
);
