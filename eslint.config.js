import tseslint from 'typescript-eslint';

/** Forbids imports that would point against `servients → things → {crypto, td}`. */
const layer = (files, patterns, ignores = []) => ({
  files,
  ignores,
  rules: { 'no-restricted-imports': ['error', { patterns }] },
});
const ours = (...names) => ({
  regex: `^(\\.\\./)+(${names.join('|')})/`,
  message: 'Layering: servients → things → {crypto, td}; crypto and td do not know each other.',
});
const node = { regex: '^node:', message: 'This folder does no I/O: take time, randomness and stores as arguments.' };

export default tseslint.config(
  { ignores: ['docs/examples', 'dist', 'node_modules', 'gridring-data'] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: { allowDefaultProject: ['eslint.config.js', 'tools/*.js'] } } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      // Interfaces of node-wot and Fastify ask for async functions that need not await.
      '@typescript-eslint/require-await': 'off',
    },
  },
  layer(
    ['crypto/**'],
    [ours('td', 'things', 'servients', 'dashboard', 'bench', 'soak', 'test'), node],
    ['crypto/suite-node.ts'],
  ),
  layer(['crypto/suite-node.ts'], [ours('td', 'things', 'servients', 'dashboard', 'bench', 'soak', 'test')]),
  layer(['td/**'], [ours('crypto', 'things', 'servients', 'dashboard', 'bench', 'soak', 'test')]),
  layer(['things/**'], [ours('servients', 'dashboard', 'bench', 'soak', 'test'), node]),
  layer(['servients/**'], [ours('dashboard', 'bench', 'soak', 'test')]),
  { files: ['test/**'], rules: { '@typescript-eslint/no-non-null-assertion': 'off' } },
  { files: ['**/*.js'], ...tseslint.configs.disableTypeChecked },
);
